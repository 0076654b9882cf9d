"""A change within a monitor batch ends it; chance, skewed features and the way rows come do not."""

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given as drawn
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from consumer.manifest import Reference
from consumer.onset import BEFORE, Onset
from consumer.threshold import Thresholds
from consumer.watch import Watch
from tests.chunks import chunked
from tests.streams import V14, model, settings, stream

ROWS = 100
DRAW = np.random.default_rng(12).normal(size=(20 * ROWS, 3)).astype(np.float32)


def onset(rows: int = ROWS, **reference: Any) -> Onset:
    count = len(reference.get("mean", [0.0] * 3))
    plain = {"rows": 1000, "mean": [0.0] * count, "sd": [1.0] * count, "fraud_share": 0.1}
    return Onset(Reference(**(plain | reference)), rows)


def moved(at: int, by: float = 2.0) -> Any:
    x = DRAW.copy()
    x[at:, 1] += by
    return x


def ends(watch: Onset, x: Any, rows: int = ROWS) -> list[tuple[int, int]]:
    """Of each batch that ends early: before which row, and from which on all is different."""
    found, at = [], 0
    for start in range(0, len(x), rows):
        while at < start + rows:
            batch = x[at : start + rows]
            count = watch.find(batch)
            watch.take(batch[:count])
            at += len(batch[:count])
            if watch.begins is not None:
                found.append((at, start + watch.begins))
            if at < start + rows:
                watch.cut()
        watch.end()
    return found


@pytest.mark.parametrize("at", [1000, 1003, 1030, 1058, 1075, 1099])
def test_a_change_ends_the_batch_soon_after_it_began(at):
    ((end, begins),) = ends(onset(), moved(at))

    assert at < end <= at + 40
    assert abs(begins - at) <= 10


def test_a_small_change_does_not():
    assert ends(onset(), moved(1000, by=0.4)) == []


@pytest.mark.parametrize(("count", "by", "every"), [(7, 3.0, 3), (10, 4.0, 10)])
def test_a_burst_of_a_few_rows_does_not(count, by, every):
    """Ten rows do not where they are of one tenth."""
    for at in range(1000, 1090, every):
        x = DRAW.copy()
        x[at : at + count, 1] += by
        assert ends(onset(), x) == []


def test_by_chance_none_does_even_where_features_are_skewed():
    rng = np.random.default_rng(3)
    x = np.column_stack(
        [
            rng.normal(size=200_000),
            (rng.lognormal(sigma=1.0, size=200_000) - 1.65) / 2.16,
            (rng.random(200_000) < 0.01) * 10.0,
        ]
    ).astype(np.float32)

    assert ends(onset(skewness=[0.0, 6.2, 9.8]), x) == []


def test_what_training_saw_every_day_does_not():
    x = moved(1000)
    assert ends(onset(unrest=[1.0, 6.0, 1.0]), x) == []


def test_there_has_to_be_something_to_compare_with():
    at = BEFORE * ROWS
    assert ends(onset(), moved(at - ROWS)[:at]) == []
    assert len(ends(onset(), moved(at)[: at + ROWS])) == 1


def test_after_a_change_the_batches_since_are_what_the_next_is_told_by():
    x = moved(1000)
    x[1600:, 1] -= 2.0
    x[1900:, 1] += 2.0  # too soon to tell

    assert [begins for _, begins in ends(onset(), x)] == [1000, 1600]


@pytest.mark.parametrize("size", [7, 100, 190, 1_000])
def test_of_a_batch_that_lasts_only_the_first_rows_are_looked_at(size):
    x, watch = np.concatenate([moved(0, by=6.0)] * 4), onset()
    for start in range(0, len(x), 1_000):
        batch = x[start : start + 1_000]
        batch[500:] -= 6.0
        for at in range(0, len(batch), size):
            assert watch.find(batch[at : at + size]) is None
            watch.take(batch[at : at + size])
        watch.end()

    (began, *_), *_ = [(watch.find(x[n : n + 100]), n) for n in (500,)]
    assert began == 20


def test_where_rows_spread_more_than_in_training_chance_does_not():
    rng = np.random.default_rng(4)
    x = 2.0 * rng.normal(size=(100_000, 3)).astype(np.float32)

    assert len(ends(onset(), x)) <= 1


@hypothesis_settings(deadline=None)
@drawn(st.integers(900, 1100), st.lists(st.integers(0, 130), min_size=1, max_size=6))
def test_in_which_chunks_rows_come_makes_no_difference(at, sizes):
    x = moved(at)
    whole, pieces = onset(), onset()
    for start in range(0, 13 * ROWS, ROWS):
        batch = x[start : start + ROWS]
        count, seen = whole.find(batch), 0
        whole.take(batch[:count])
        found = None
        for chunk in chunked(batch, sizes):
            found = pieces.find(chunk)
            pieces.take(chunk[:found])
            seen += len(chunk[:found])
            if found is not None:
                break
        assert seen == len(batch[:count])
        assert pieces.begins == whole.begins
        for each in (whole, pieces):
            if seen < ROWS:
                each.cut()
            each.end()
        assert pieces.state() == whole.state()


@pytest.mark.parametrize("seen", [0, 7, 30])
def test_a_restart_goes_on_within_the_batch(seen):
    x = moved(1010)
    alone, after = onset(), onset()
    assert ends(alone, x[:1000]) == []
    alone.take(x[1000 : 1000 + seen])

    after.load(orjson.loads(orjson.dumps(alone.state())))
    after.take(x[1000 : 1000 + seen])

    rest = x[1000 + seen : 1100]
    count = alone.find(rest)
    assert count is not None
    assert after.find(rest) == count
    after.take(rest[:count])
    assert after.begins == 10


@pytest.mark.parametrize("readable", [45, 44, None])
def test_a_batch_goes_on_being_looked_at_only_where_all_its_rows_are_there(readable):
    given = stream(1_000 + 100, seed=5).transactions
    x = given.x.copy()
    x[1_030:, V14] -= 5.0

    def watch():
        return Watch(settings({"batch.rows": 100}), model(), cuts=True)

    def take(watched, first, last):
        watched.take(given.event_time[first:last], x[first:last], np.zeros(last - first), 0.5)

    before, after = watch(), watch()
    for start in range(0, 1_000, 100):
        take(before, start, start + 100)
        before.end(Thresholds.of(settings()))
    take(before, 1_000, 1_045)

    rows = None if readable is None else x[1_045 - readable : 1_045]
    after.load(orjson.loads(orjson.dumps(before.state())), rows)

    assert before.rows_to_change(x[1_045:1_100]) == 5
    assert after.rows_to_change(x[1_045:1_100]) == (5 if readable == 45 else None)


def test_rows_that_can_no_longer_be_read_are_not_guessed():
    x = moved(1010)
    watch = onset()
    assert ends(watch, x[:1000]) == []

    watch.cut()

    assert watch.find(x[1030:1100]) is None
    watch.end()
    assert watch.find(x[1100:1200]) is not None
