"""Hard cases that once went wrong: each stage meets what it would rather not."""

import contextlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from consumer import encode, train, training_command
from consumer.decode import TransactionDecoder
from consumer.errors import ModelError, RegistryError, SettingsError
from consumer.heal import Healer
from consumer.order import Lane, Sequencer
from consumer.registry import Registry
from consumer.rules import Rules, parse
from consumer.sections import TransactionInput
from consumer.settings import load
from tests.pipelines import INLINE, THREADED, drifting, finish, heal_in_flight
from tests.streams import BATCH, DRIFT, START_MS, events, idle, model, running, score, stream
from tests.test_heal import LABEL, X
from tests.test_model_directory import damaged, written
from tests.test_train import labelled, log_loss, overconfident


def test_an_outlier_ends_no_later_heal():
    of = model()
    by = Healer(of.module, of.rules, 5, 0.003)
    x = X.copy()
    x[np.flatnonzero(LABEL == 0)[0]] = [1000, 0, 0]  # its score underflows to exactly 0
    with contextlib.suppress(Exception):
        by.heal(of.base_adapter, x, LABEL, 0.3)
    Healer(of.module, of.rules, 5, 0.003).heal(of.base_adapter, X, LABEL, 0.3)
    by.heal(of.base_adapter, X, LABEL, 0.3)  # RuntimeError for ever


def test_no_score_is_null():
    batch = drifting(1)[0]
    x = (np.random.default_rng(0).choice([-1, 1], (BATCH, 3)) * 3e38).astype(np.float32)
    with running() as pipeline:
        pipeline.score(replace(batch.transactions, x=x), idle)
        for scores in pipeline.out.take().scores:
            for _, value in encode.scores(scores, "transactions", "m"):
                assert json.loads(value)["score"] is not None, value


def test_a_time_beyond_all_bounds_is_refused():
    decode = TransactionDecoder(TransactionInput(time_format="epoch_s"), ["a"], 1000)
    value = b'{"transaction_id":"x","event_time":1e306,"features":{"a":1}}'
    _, (refused,) = decode(0, [value], [0], START_MS)
    assert refused.kind in ("ImplausibleTime", "InvalidTime")


@pytest.mark.parametrize("times", [1.25, 2, 3, 5])
def test_calibration_takes_back_too_much_confidence(times):
    module, fit = overconfident(times), labelled(600, seed=8)
    before = log_loss(module, fit)
    train._calibrate(module, torch.from_numpy(fit.x), torch.from_numpy(fit.label))
    assert log_loss(module, fit) <= before


def test_every_event_has_its_own_id_though_a_heal_takes_its_time(gate):
    with running(THREADED) as pipeline:
        batches = drifting(5)
        heal_in_flight(pipeline, gate, batches)
        score(pipeline, batches[3])
        finish(pipeline, gate)
        pipeline.settle(idle)
        made = [(e["event"]["id"], e["message"]) for e in pipeline.out.take().events]
    ids = [i for i, _ in made]
    assert len(set(ids)) == len(ids), [m for m in made if ids.count(m[0]) > 1]


@pytest.mark.parametrize("order", ["event_time", "arrival"])
@pytest.mark.parametrize("gone", [[0], [0, 1]])
def test_partitions_may_go_while_an_inline_heal_runs(gate, order, gone):
    with running(INLINE, partitions=(0, 1)) as pipeline:

        def rebalance():
            if 0 in sequencer.lanes:
                for partition in gone:
                    sequencer.lanes.pop(partition, None)
                pipeline.revoke(gone, START_MS)
                gate.open.set()

        sequencer = Sequencer(pipeline, order, rebalance)
        sequencer.lanes = {0: Lane(), 1: Lane()}
        for partition, lane in sequencer.lanes.items():
            made = stream(10 * BATCH, drift=DRIFT, partition=partition)
            # labels first: they wait in the join, so that a heal may begin while scoring
            for queue, rows in ((lane.labels, made.labels), (lane.transactions, made.transactions)):
                queue.put(rows, [], 10 * BATCH)
                queue.at_end = True
        sequencer.run()
        {s.transactions.partition for s in pipeline.out.scores}


@pytest.mark.parametrize("gone", [[0], [0, 1]])
def test_arrival_scoring_early_labels(gate, gone):
    with running(INLINE, partitions=(0, 1)) as pipeline:

        def rebalance():
            if 0 in sequencer.lanes:
                for partition in gone:
                    sequencer.lanes.pop(partition, None)
                pipeline.revoke(gone, START_MS)
                gate.open.set()

        sequencer = Sequencer(pipeline, "arrival", rebalance)
        sequencer.lanes = {0: Lane(), 1: Lane()}
        for p in (0, 1):
            made = stream(10 * BATCH, drift=DRIFT, partition=p)
            pipeline.labels(made.labels, idle)
            sequencer.lanes[p].transactions.put(made.transactions, [], 10 * BATCH)
        sequencer.run()


def test_nothing_is_healed_on_rows_of_a_partition_that_is_gone(gate):
    with running(INLINE, partitions=(0,)) as pipeline:

        def rebalance():
            pipeline.revoke([0], START_MS)
            gate.open.set()

        made = stream(6 * BATCH, drift=DRIFT)
        for batch in made.batches():
            score(pipeline, batch)
        pipeline.labels(made.labels, rebalance)
        assert events(pipeline.out, "heal-deployed") == []


@pytest.mark.parametrize("text", ["amount > 1234567", "V14 < -1.23456789"])
def test_a_rule_keeps_its_number(text):
    features = ["amount", "V14"]
    value = np.float32(text.split()[-1])
    for given in (text, str(parse(text, features))):
        below, at = (np.full((1, 2), v, np.float32) for v in (np.nextafter(value, -np.inf), value))
        fired = [bool(Rules([parse(given, features)]).fired(x)[0, 0]) for x in (below, at)]
        assert fired == [text.startswith("V14"), False]


@pytest.mark.parametrize(
    "text",
    [
        '[kafka.properties]\nsasl.password = "hunter2"\n',
        '[kafka]\nsasl.password = "hunter2"\n',
        '[kafka]\nproperties = \'{"sasl.password": "hunter2"}\'\n',
    ],
)
def test_no_error_tells_a_secret(tmp_path, text):
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(SettingsError) as refused:
        load(tmp_path / "s.toml")
    assert "hunter2" not in str(refused.value)


def test_a_partition_that_goes_takes_the_state_healing_with_it(gate):
    with running(THREADED, partitions=(0, 1)) as pipeline:
        heal_in_flight(pipeline, gate, drifting(3))
        pipeline.revoke([0], START_MS)
        assert pipeline.healing.state != "HEALING"


def test_a_manifest_without_its_keys_is_refused():
    with pytest.raises(RegistryError):
        Registry("m", "b" * 64).restore("snapshot/1", b"", {})


def test_a_manifest_that_is_no_text_is_named(damaged):
    from consumer import model_directory

    (damaged[0] / "model.toml").write_bytes(b"\xff")
    with pytest.raises(ModelError):
        model_directory.load(damaged[0])


@pytest.mark.parametrize("flags", [{"batch": "1", "batch.rows": "3"}])
def test_a_flag_under_a_flag_is_named(flags):
    import os
    from pathlib import Path

    with pytest.raises(SettingsError):
        load(Path(os.devnull), flags)


def test_an_sd_of_zero_is_refused(damaged):
    from consumer import model_directory

    damaged[1]("reference.sd", [1.0, 0.0, 1.0])
    with pytest.raises(ModelError):
        model_directory.load(damaged[0])
