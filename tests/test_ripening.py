"""Labels of fraud that come first: rows wait for those of the others, and only there."""

import json
from dataclasses import replace

import numpy as np
import orjson
import pytest

from consumer.columns import Labelled
from consumer.hedge.change import FeatureChange
from consumer.hedge.mind import Mind
from consumer.hedge.pool import Pool
from consumer.hedge.ripening import LEAST_LEGIT, Ripening
from consumer.policy import Memories
from consumer.registry import InForce, Registry
from tests.hedging import losses, ran
from tests.streams import BATCH, STEP_MS, stream

LATE_MS = 50_000


def labelled(start, rows, delays, *, every=10):
    """Rows a second apart, one in `every` a fraud; `delays`: of a legitimate one and of a fraud."""
    offset = np.arange(start, start + rows, dtype=np.int64)
    fraud = (offset % every == 0).astype(np.int8)
    zero = np.zeros(rows, np.float32)
    none = np.zeros(rows, np.int8)
    return Labelled(
        partition=0,
        ids=[str(n) for n in offset],
        event_time=1_000 * offset,
        labelled_at=1_000 * offset + np.array(delays)[fraud],
        is_fraud=fraud,
        source=["chargeback"] * rows,
        x=np.zeros((rows, 1), np.float32),
        score=zero,
        shadow=zero,
        threshold=np.zeros(rows),
        decision=none,
        shadow_decision=none,
        adapter_version=none.astype(np.int64),
        weight=np.ones(rows),
        offset=offset,
        groups=np.zeros((rows, 0), np.uint8),
    )


def offsets(parts):
    return sorted(offset for part in parts for offset in part.offset.tolist())


def known(rows, now_ms):
    return rows.only(rows.labelled_at <= now_ms)


@pytest.mark.parametrize("delays", [(0, 0), (LATE_MS, LATE_MS), (1_000, LATE_MS)])
def test_nothing_waits_where_fraud_is_not_what_comes_first(delays):
    ripening = Ripening()
    for start in range(0, 1_000, 100):
        rows = labelled(start, 100, delays)
        assert offsets(ripening.take([rows], 0)) == rows.offset.tolist()
    assert ripening.age_ms == 0


def test_where_the_class_says_nothing_of_the_delay_nothing_waits():
    ripening, rng = Ripening(), np.random.default_rng(3)
    for start in range(0, 20_000, 100):
        rows = labelled(start, 100, (0, 0))
        late = rows.event_time + rng.exponential(LATE_MS, 100).astype(np.int64)
        assert len(offsets(ripening.take([replace(rows, labelled_at=late)], 0))) == 100


def test_rows_wait_until_legitimate_ones_are_labelled_as_well():
    rows, ripening = labelled(0, 1_000, (LATE_MS, 5_000)), Ripening()
    seen, counted = 0, []
    for now_ms in range(0, 1_000_000, 20_000):
        come = known(rows, now_ms)
        fresh = come.only(~np.isin(come.offset, seen)) if seen else come
        seen = come.offset.tolist()
        counted += ripening.take([fresh], now_ms)
        both = [label for part in counted for label in part.is_fraud.tolist()]
        if len(both) > 200:
            assert np.mean(both) == pytest.approx(0.1, abs=0.03)
    assert LATE_MS <= ripening.age_ms <= 1.5 * LATE_MS
    assert offsets(counted) == [*range(len(offsets(counted)))]
    assert len(offsets(counted)) > 850


def test_nobody_knows_before_legitimate_labels_have_come():
    ripening = Ripening()
    frauds = labelled(0, 500, (0, 0), every=1)
    assert ripening.take([frauds], 10**9) == []
    assert ripening.age_ms is None
    legit = labelled(501, LEAST_LEGIT, (10_000, 0), every=10**6)
    assert ripening.take([legit], 10**9) != []


def test_after_a_restart_the_same_rows_wait():
    rows = labelled(0, 1_000, (LATE_MS, 5_000))
    one = Ripening()
    early, late = known(rows, 600_000), rows.only(rows.labelled_at > 600_000)
    one.take([early], 600_000)

    two = Ripening()
    two.load(json.loads(json.dumps(one.state())))
    two.bring_back(early)

    assert two.state() == one.state()
    first, second = (each.take([late], 1_100_000) for each in (one, two))
    assert offsets(first) == offsets(second)
    assert offsets(first)[0] < early.offset.max()


def test_after_a_restart_nobody_learns_from_rows_that_wait():
    columns = FeatureChange(["a"], [1.0])
    mind = Mind(Pool(), columns)
    mind.memory.add(labelled(0, 1_000, (LATE_MS, 5_000)))
    mind.ripening.take([known(labelled(0, 1_000, (LATE_MS, 5_000)), 600_000)], 600_000)
    state = orjson.loads(orjson.dumps(mind.state()))

    again = Mind(Pool(), columns)
    base = Registry("m", "b").snapshot("base", {}, parent=None, reason="base")
    again.load(state, Memories(), InForce(base))
    again.memory.add(labelled(0, 1_000, (LATE_MS, 5_000)))

    assert again.memory.newest_ms == mind.ripening.until_ms < 600_000
    assert len(again.memory.all().y) == again.memory.newest_ms // 1_000 + 1


def test_frauds_that_are_known_first_do_not_make_everything_a_fraud():
    given = stream(120 * BATCH, seed=5)
    late = np.where(given.labels.is_fraud == 1, 2, 60) * BATCH * STEP_MS
    at = given.labels.labelled_at + late
    order = np.argsort(at, kind="stable")
    labels = replace(
        given.labels,
        ids=[given.labels.ids[n] for n in order],
        labelled_at=at[order],
        is_fraud=given.labels.is_fraud[order],
    )

    out = ran(replace(given, labels=labels))

    healed, frozen = losses(out, given, start=0)
    assert healed < frozen + 0.001
