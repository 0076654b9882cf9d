"""What a restart takes back from our topics, where the process before it had another shape."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import orjson

from consumer import encode, restore
from consumer.columns import Labelled
from consumer.control import Control
from consumer.driver import Driver
from consumer.registry import Registry
from consumer.restore import NEWEST, Checkpoint
from tests.hedging import HEDGE
from tests.streams import BATCH, FEATURES, labels_of, model, running, score, settings, stream


def test_orders_hold_on_whatever_is_healed_but_not_what_named_a_version():
    control = Control(required=True, timeout_s=1)
    control.read, control.paused, control.pinned = 7, True, True
    control.ask("heal-3", "what", 0, 3, {})
    assert control.is_new("pause-1")
    healing = {"control": control.state(), "state": "HEALTHY", "hedge": {}}

    left = Checkpoint({}, {}, {}, orjson.loads(orjson.dumps(healing))).orders()

    with Driver(settings(HEDGE), model()) as driver:
        healer = driver.pipeline.healing
        healer.take_over(left, SimpleNamespace(snapshots={}))
        assert (healer.control.read, healer.control.paused) == (7, True)
        assert not healer.control.is_new("pause-1")
        assert not healer.control.pinned
        assert healer.control.waiting == {}


def test_a_correction_is_of_the_row_it_names_though_its_id_is_used_again():
    rows = _joined().rows(0, 2)
    rows = replace(rows, ids=["a", "a"], is_fraud=np.zeros(2, np.int8))
    corrected = replace(rows.rows(0, 1), is_fraud=np.ones(1, np.int8))
    found = [
        message
        for some, correction in ((rows, False), (corrected, True))
        for _, message in encode.labelled(some, "transactions", FEATURES, correction=correction)
    ]
    topic = SimpleNamespace(
        last=lambda name, number, count: [SimpleNamespace(value=lambda m=m: m) for m in found]
    )

    back = restore.labelled(topic, settings(), FEATURES, 0, 2, corrected=True)

    assert back.is_fraud.tolist() == [1, 0]


def test_what_waits_for_approval_is_kept_however_many_snapshots_follow():
    registry = Registry("m", "b")
    every = [registry.snapshot("candidate", {}, parent=None, reason="heal")]
    every += [
        registry.snapshot("pool", {}, parent=None, reason="alignment") for _ in range(2 * NEWEST)
    ]
    snapshots = {each.version: each for each in every}

    left = restore.kept(snapshots, {every[1].version})

    assert set(left) == {every[0].version, every[1].version, *sorted(snapshots)[-NEWEST:]}


def _joined():
    """Rows with their labels, as the join publishes them."""
    with running() as pipeline:
        for batch in stream(BATCH).batches():
            score(pipeline, batch)
            labels_of(pipeline, batch)
        return Labelled.concatenate(pipeline.out.labelled)
