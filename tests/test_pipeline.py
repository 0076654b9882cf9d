"""The stages together, without Kafka: states, swaps, late labels, heals that take their time."""

import threading
import time
from dataclasses import replace

import numpy as np
import orjson
import pytest
import torch

from consumer import encode, metrics
from consumer.breaker import Trip
from consumer.events import _SHAPES
from consumer.heal import CancelledError, Healer
from consumer.registry import Place
from consumer.threshold import Command
from tests.schemas import conforms
from tests.streams import (
    BATCH,
    DRIFT,
    FEATURES,
    START_MS,
    actions,
    events,
    idle,
    labels_of,
    model,
    running,
    score,
    stream,
)

TIMEOUT_S = 10
THREADED = {
    "watch.conflicts": 999,  # FIDI alone raises the alarm
    "health.f1_drop": 1,  # nothing can fall so far: no heal is rolled back
    "health.accuracy_drop": 1,
}
INLINE = THREADED | {"heal.mode": "inline"}
DIVERGING = INLINE | {"heal.learning_rate": 3e37}
# Rolls back where F1 is below that of the first heal.
TOUCHY = INLINE | {
    "health.window": 1,
    "health.min_updates": 2,
    "health.f1_drop": 0,
    "prequential.window_rows": 50,
}


def drifting(batches, *, partition=0):
    """Batches that have drifted from the first one on: FIDI passes 1 at the third."""
    return list(stream(batches * BATCH, drift=DRIFT, partition=partition).batches())


def versions(out):
    """Adapter version of each row scored."""
    return [s.adapter_version for s in out.scores for _ in range(len(s))]


def states(out):
    return [(e["from_state"], e["to_state"]) for e in events(out, "state-changed")]


class Gate:
    """Heals begin, and wait here until they are let go."""

    def __init__(self):
        self.begun = threading.Semaphore(0)
        self.open = threading.Event()

    def wait(self, cancelled):
        self.begun.release()
        while not self.open.wait(0.005):
            if cancelled():
                raise CancelledError


@pytest.fixture
def gate(monkeypatch):
    found = Gate()

    class Held(Healer):
        def heal(self, start, x, label, conflict_probability, cancelled, *, moments):
            found.wait(cancelled)
            return super().heal(start, x, label, conflict_probability, cancelled, moments=moments)

    monkeypatch.setattr("consumer.healing.Healer", Held)
    return found


def finish(pipeline, gate):
    """Let the heal in flight go and wait until its result lies there, not collected yet."""
    gate.open.set()
    deadline = time.monotonic() + TIMEOUT_S
    while pipeline.healing._worker._results.empty():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def heal_in_flight(pipeline, gate, batches):
    """Score and label three batches: the alarm of the third begins a heal, which waits."""
    for batch in batches[:3]:
        score(pipeline, batch)
        labels_of(pipeline, batch)
    assert gate.begun.acquire(timeout=TIMEOUT_S)


# --- States ---


def test_from_healthy_through_drifting_and_healing():
    with running(INLINE) as pipeline:
        for number, batch in enumerate(drifting(4), 1):
            pipeline.out.take()
            score(pipeline, batch)
            scored = states(pipeline.out.take())
            labels_of(pipeline, batch)
            healed = states(pipeline.out.take())
            if number < 3:
                assert scored + healed == []
            if number == 3:
                assert scored == [("HEALTHY", "DRIFTING")]
            if number >= 3:
                assert healed == [("DRIFTING", "HEALING"), ("HEALING", "DRIFTING")]


def test_rolled_back_until_the_next_heal():
    with running(TOUCHY) as pipeline:
        after = []
        for batch in [*drifting(8), *stream(3 * BATCH, start=8 * BATCH).batches()]:
            score(pipeline, batch)
            labels_of(pipeline, batch)
            after.append(pipeline.healing.state)
        out = pipeline.out.take()

    h, d, r = "HEALTHY", "DRIFTING", "ROLLED_BACK"
    assert after == [h, h, d, r, r, d, r, r, d, d, h]
    healed = [(e["labelled_batch"], e["version"]) for e in events(out, "heal-deployed")]
    assert healed == [(batch, 2 * batch - 3) for batch in range(3, 11)]
    # Back to the best so far: batch 3's, then batch 6's.
    rolled = [(e["labelled_batch"], e["restored_version"]) for e in events(out, "rollback")]
    assert rolled == [(4, 3), (5, 3), (7, 9), (8, 9)]
    assert [s.adapter_version for s in out.scores] == [1, 1, 1, 3, 3, 3, 9, 9, 9, 15, 17]
    assert out.deployed == [3, 3, 3, 9, 9, 9, 15, 17]
    last = events(out, "batch-labelled")[-1]
    assert last["action"] == "none"
    assert last["in_force"] == last["healed"] != last["frozen"]


def test_rolled_back_outlasts_the_drift():
    with running(TOUCHY) as pipeline:
        for batch in drifting(5):
            score(pipeline, batch)
            labels_of(pipeline, batch)
        for batch in stream(20 * BATCH, start=5 * BATCH).batches():
            score(pipeline, batch)

        assert len(events(pipeline.out, "drift-recovered")) == 1
        assert pipeline.healing.state == "ROLLED_BACK"  # no heal was admitted meanwhile


def test_a_drift_that_ends_is_healthy_again():
    with running(INLINE) as pipeline:
        for batch in [*drifting(3), *stream(9 * BATCH, start=3 * BATCH).batches()]:
            score(pipeline, batch)

        out = pipeline.out.take()
        assert states(out) == [("HEALTHY", "DRIFTING"), ("DRIFTING", "HEALTHY")]
        assert [e["batch"] for e in events(out, "drift-detected")] == [3]
        # z as clean batches come: 1.48, 1.14, 1.01, .90.
        assert [e["batch"] for e in events(out, "drift-recovered")] == [6]


def test_scores_carry_the_state_and_version_of_when_their_batch_began():
    with running(INLINE) as pipeline:
        for batch in drifting(5):
            score(pipeline, batch)
            labels_of(pipeline, batch)

        out = pipeline.out.take()
        assert [s.state for s in out.scores] == ["HEALTHY"] * 3 + ["DRIFTING"] * 2
        assert [s.adapter_version for s in out.scores] == [1, 1, 1, 3, 5]
        assert [(a.place.offset, a.version) for a in out.activations] == [
            (0, 1),
            (3 * BATCH, 3),
            (4 * BATCH, 5),
        ]


# --- What is scored, and by whom ---


def test_every_score_can_be_made_again_from_its_snapshot():
    of = model()
    with running(TOUCHY, of=of) as pipeline:
        for batch in drifting(9):
            score(pipeline, batch)
            labels_of(pipeline, batch)
        out = pipeline.out.take()

    assert len(events(out, "rollback")) >= 2
    by_version = {s.version: s.adapter for s in out.snapshots}
    for batch in out.scores:
        for row, x in enumerate(torch.from_numpy(batch.transactions.x)):
            h = of.module.represent(x[None])
            again = of.module.decide(h, by_version[batch.adapter_version]).item()
            assert batch.score[row] == pytest.approx(again, abs=1e-6)
            assert batch.shadow[row] == pytest.approx(of.module(x[None]).item(), abs=1e-6)


def test_an_adapter_swaps_only_at_a_batch_end(gate):
    with running(THREADED) as pipeline:
        batches = drifting(5)
        heal_in_flight(pipeline, gate, batches)
        half = BATCH // 2
        pipeline.score(batches[3].transactions.rows(0, half), idle)
        finish(pipeline, gate)
        pipeline.healing.collect()
        assert pipeline.healing.deployed.version == 3

        pipeline.out.take()
        pipeline.score(batches[3].transactions.rows(half, BATCH), idle)
        pipeline.end_batch(0)
        score(pipeline, batches[4])

        out = pipeline.out.take()
        assert versions(out) == [1] * half + [3] * BATCH
        first, second = out.scores
        assert first.score.tolist() == first.shadow.tolist()  # version 1 is the frozen one
        assert second.score.tolist() != second.shadow.tolist()
        assert [a.place.offset for a in out.activations] == [4 * BATCH]


def test_a_label_that_came_before_its_transaction_is_joined_when_it_is_scored():
    with running(INLINE) as pipeline:
        (batch,) = stream(BATCH).batches()
        labels_of(pipeline, batch)
        assert events(pipeline.out, "batch-labelled") == []

        score(pipeline, batch)

        out = pipeline.out.take()
        assert [e["rows"] for e in events(out, "batch-labelled")] == [BATCH]
        assert out.labelled[0].ids == batch.transactions.ids


def test_a_corrected_label_is_published_and_is_no_new_evidence():
    with running(INLINE) as pipeline:
        (batch,) = stream(BATCH).batches()
        score(pipeline, batch)
        labels_of(pipeline, batch)
        before = pipeline.status()
        pipeline.out.take()

        changed = replace(batch.labels.rows(0, 1), is_fraud=1 - batch.labels.is_fraud[:1])
        pipeline.labels(changed, idle)

        out = pipeline.out.take()
        assert [rows.ids for rows in out.corrected] == [batch.transactions.ids[:1]]
        assert out.corrected[0].is_fraud.tolist() == changed.is_fraud.tolist()
        assert out.events == []
        after = pipeline.status()
        assert (after.labelled, after.accuracy) == (before.labelled, before.accuracy)
        assert after.labels == {"matched": BATCH, "corrected": 1}


def test_what_became_of_the_labels_is_summed_over_the_partitions():
    with running(INLINE, partitions=(0, 1)) as pipeline:
        for partition in (0, 1):
            (batch,) = stream(BATCH, partition=partition).batches()
            score(pipeline, batch)
            labels_of(pipeline, batch)

        assert pipeline.status().labels == {"matched": 2 * BATCH}


def test_a_sampled_row_is_published_with_its_weight():
    with running({**INLINE, "join.max_rows": BATCH // 2}) as pipeline:
        (batch,) = stream(BATCH).batches()
        score(pipeline, batch)
        labels_of(pipeline, batch)

        (rows,) = pipeline.out.take().labelled
        assert len(rows) < BATCH
        published = [orjson.loads(v) for _, v in encode.labelled(rows, "transactions", FEATURES)]
        (weight,) = {row["weight"] for row in published}
        assert weight in (2.0, 4.0)


def test_a_label_past_the_horizon_is_not_joined():
    with running({**INLINE, "join.horizon_days": 1 / 86_400}) as pipeline:  # a second, ten rows
        (batch,) = stream(BATCH).batches()
        score(pipeline, batch)
        labels_of(pipeline, batch)

        # The last row is at 1,900 ms: rows from 900 ms on are joined.
        assert pipeline.out.take().labelled[0].ids == batch.transactions.ids[9:]


# --- Heals on the worker thread ---


def test_scoring_goes_on_while_a_heal_takes_its_time(gate):
    with running(THREADED) as pipeline:
        batches = drifting(56)
        heal_in_flight(pipeline, gate, batches)
        for batch in batches[3:54]:
            score(pipeline, batch)
        out = pipeline.out.take()
        assert versions(out) == [1] * 54 * BATCH
        assert {s.state for s in out.scores[3:]} == {"HEALING"}
        assert events(out, "heal-deployed") == []

        finish(pipeline, gate)
        for batch in batches[54:]:
            score(pipeline, batch)

        out = pipeline.out.take()
        assert versions(out) == [3] * 2 * BATCH
        assert [e["labelled_batch"] for e in events(out, "heal-deployed")] == [3]


def test_a_newer_request_replaces_one_that_waits(gate):
    with running(THREADED) as pipeline:
        batches = drifting(7)
        heal_in_flight(pipeline, gate, batches)
        for batch in batches[3:6]:  # requests 4, 5, 6 while 3 is in flight
            score(pipeline, batch)
            labels_of(pipeline, batch)

        out = pipeline.out.take()
        assert [e["labelled_batch"] for e in events(out, "heal-requested")] == [3, 4, 5, 6]
        assert [(e["labelled_batch"], e["reason"]) for e in events(out, "heal-discarded")] == [
            (4, "replaced by labelled batch 5"),
            (5, "replaced by labelled batch 6"),
        ]
        finish(pipeline, gate)
        pipeline.settle(idle)
        out = pipeline.out.take()
        assert [e["labelled_batch"] for e in events(out, "heal-deployed")] == [3, 6]
        assert pipeline.healing.state == "DRIFTING"
        judged = [(e["labelled_batch"], e["action"]) for e in events(out, "batch-labelled")]
        assert judged == [(3, "heal"), (6, "heal")]


def test_each_heal_starts_from_the_adapter_deployed_then(gate):
    with running(THREADED) as pipeline:
        batches = drifting(5)
        heal_in_flight(pipeline, gate, batches)
        score(pipeline, batches[3])
        labels_of(pipeline, batches[3])
        finish(pipeline, gate)
        pipeline.settle(idle)

        first, second = events(pipeline.out.take(), "heal-deployed")
        assert (first["parent"], first["pre_heal_version"], first["version"]) == (1, 2, 3)
        assert (second["parent"], second["pre_heal_version"], second["version"]) == (3, 4, 5)


def test_on_a_quiet_stream_a_finished_heal_is_admitted_all_the_same(gate):
    with running(THREADED) as pipeline:
        batches = drifting(4)
        heal_in_flight(pipeline, gate, batches)
        finish(pipeline, gate)
        pipeline.out.take()

        pipeline.healing.collect()

        out = pipeline.out.take()
        assert actions(out) == ["heal-deployed", "state-changed"]
        assert out.deployed == [3]
        score(pipeline, batches[3])
        assert set(versions(pipeline.out.take())) == {3}


def test_a_heal_in_flight_goes_with_its_partition(gate):
    with running(THREADED, partitions=(0, 1)) as pipeline:
        batches = drifting(4)
        heal_in_flight(pipeline, gate, batches)
        pipeline.out.take()

        pipeline.revoke([0], START_MS)

        out = pipeline.out.take()
        assert [(e["labelled_batch"], e["reason"]) for e in events(out, "heal-discarded")] == [
            (3, "its partition was revoked")
        ]
        assert out.snapshots == []
        assert pipeline.healing.deployed.version == 1
        assert not pipeline.healing._worker.busy  # what it made was thrown away
        pipeline.assign([0], START_MS)  # its owner is the replica that heals
        gate.open.set()
        for batch in drifting(3, partition=1):
            score(pipeline, batch)
            labels_of(pipeline, batch)
        pipeline.settle(idle)
        assert [e["partition"] for e in events(pipeline.out, "heal-deployed")] == [1]


def test_a_request_that_waits_goes_with_its_partition_and_the_heal_in_flight_stays(gate):
    with running(THREADED, partitions=(0, 1)) as pipeline:
        heal_in_flight(pipeline, gate, drifting(3))
        for batch in drifting(3, partition=1):
            score(pipeline, batch)
            labels_of(pipeline, batch)

        pipeline.revoke([1], START_MS)
        finish(pipeline, gate)
        pipeline.settle(idle)

        out = pipeline.out.take()
        assert [e["partition"] for e in events(out, "heal-discarded")] == [1]
        assert [e["partition"] for e in events(out, "heal-deployed")] == [0]


def test_with_partition_0_the_healing_goes_to_another_replica(gate):
    with running(THREADED, partitions=(0, 1)) as pipeline:
        heal_in_flight(pipeline, gate, drifting(3))
        for batch in drifting(3, partition=1):
            score(pipeline, batch)
            labels_of(pipeline, batch)

        pipeline.revoke([0], START_MS)
        gate.open.set()
        pipeline.settle(idle)

        out = pipeline.out.take()
        discarded = events(out, "heal-discarded")
        assert [e["partition"] for e in discarded] == [0, 1]
        assert discarded[1]["reason"] == "another replica heals now"
        for batch in drifting(3, partition=1):
            score(pipeline, batch)
            labels_of(pipeline, batch)
        assert events(pipeline.out.take(), "heal-requested") == []


def test_a_partition_that_comes_back_begins_anew():
    with running(INLINE) as pipeline:
        first = drifting(2)
        for batch in first:
            score(pipeline, batch)
        pipeline.revoke([0], START_MS)
        pipeline.assign([0], START_MS)
        pipeline.out.take()
        for batch in drifting(3):
            score(pipeline, batch)

        out = pipeline.out.take()
        assert [e["batch"] for e in events(out, "drift-detected")] == [3]
        labels_of(pipeline, first[0])  # of rows that were scored again
        assert pipeline.status().labels["matched"] == BATCH


def test_a_heal_that_diverges_is_discarded_and_scoring_goes_on():
    with running(DIVERGING, of=model(rules=())) as pipeline:
        for batch in drifting(5):
            score(pipeline, batch)
            labels_of(pipeline, batch)

        out = pipeline.out.take()
        discarded = events(out, "heal-discarded")
        assert [e["labelled_batch"] for e in discarded] == [3, 4, 5]
        assert all(e["reason"].startswith("diverged: loss ") for e in discarded)
        assert versions(out) == [1] * 5 * BATCH
        assert pipeline.healing.state == "DRIFTING"


def test_stopping_discards_what_is_open(gate):
    with running(THREADED) as pipeline:
        batches = drifting(4)
        heal_in_flight(pipeline, gate, batches)
        score(pipeline, batches[3])
        labels_of(pipeline, batches[3])
        pipeline.out.take()

        pipeline.stop("SIGTERM", START_MS, TIMEOUT_S)

        out = pipeline.out.take()
        assert actions(out) == ["heal-discarded", "heal-discarded", "consumer-stopped"]
        assert not pipeline.healing._worker._thread.is_alive()


# --- Labels that are late, few or absent ---


def test_labels_late_by_five_batches():
    batches = drifting(12)
    with running(INLINE) as pipeline:
        for number, batch in enumerate(batches):
            score(pipeline, batch)
            if number >= 5:
                labels_of(pipeline, batches[number - 5])
        out = pipeline.out.take()

    judged = events(out, "batch-labelled")
    assert [(e["labelled_batch"], e["offset"]) for e in judged] == [
        (number, number * BATCH - 1) for number in range(1, 8)
    ]
    assert {e["action"] for e in judged} <= {"heal", "rollback"}
    # Prequential: of the scores as published, whichever adapter made them.
    for e, scored, batch in zip(judged, out.scores, batches, strict=False):
        assert e["healed"] == metrics.figures(scored.score, batch.labels.is_fraud, 0.5)
        assert e["frozen"] == metrics.figures(scored.shadow, batch.labels.is_fraud, 0.5)
    assert versions(out)[: 6 * BATCH] == [1] * 6 * BATCH
    assert versions(out)[-1] > 1


@pytest.mark.parametrize("chunk", [1, 7, BATCH + 1, 6 * BATCH])
def test_labelled_batches_do_not_depend_on_how_the_labels_come(chunk):
    whole = stream(6 * BATCH, drift=DRIFT)
    with running(INLINE) as pipeline:
        for batch in whole.batches():
            score(pipeline, batch)
        for start in range(0, len(whole), chunk):
            pipeline.labels(whole.labels.rows(start, start + chunk), idle)
        judged = events(pipeline.out, "batch-labelled")

    assert [(e["offset"], e["rows"]) for e in judged] == [
        (number * BATCH - 1, BATCH) for number in range(1, 7)
    ]
    assert [e["labelled_batch"] for e in judged] == list(range(1, 7))


def test_a_tenth_of_the_labels_makes_a_tenth_of_the_labelled_batches():
    known = np.random.default_rng(0).permutation(50 * BATCH) < 5 * BATCH
    with running(INLINE) as pipeline:
        for batch in drifting(50):
            score(pipeline, batch)
            for row in np.flatnonzero(known[batch.transactions.offset]):
                pipeline.labels(batch.labels.rows(row, row + 1), idle)
        out = pipeline.out.take()

    last_rows = np.flatnonzero(known)[BATCH - 1 :: BATCH]
    judged = events(out, "batch-labelled")
    assert [e["offset"] for e in judged] == last_rows.tolist()
    assert {e["rows"] for e in judged} == {BATCH}
    assert len(events(out, "heal-deployed")) == 5
    assert sum(map(len, out.labelled)) == 5 * BATCH


def test_without_labels_nothing_is_healed():
    with running(INLINE) as pipeline:
        for batch in drifting(10):
            score(pipeline, batch)

        out = pipeline.out.take()
        assert len(events(out, "drift-detected")) == 1
        assert set(versions(out)) == {1}


def test_an_alarm_that_is_over_is_healed_on_once():
    calm = list(stream(9 * BATCH, start=3 * BATCH).batches())
    with running(INLINE) as pipeline:
        for batch in [*drifting(3), *calm[:5]]:
            score(pipeline, batch)
        assert pipeline.healing.state == "HEALTHY"

        for batch in calm[:3]:
            labels_of(pipeline, batch)

        judged = events(pipeline.out, "batch-labelled")
        assert [e["action"] for e in judged] == ["heal", "none", "none"]
        assert events(pipeline.out, "heal-requested")[0]["reasons"][0].startswith("fidi V14 z ")


# --- Thresholds, totals, shapes ---


def command(**thresholds):
    values = {name.replace("_", ".", 1): value for name, value in thresholds.items()}
    return Command("6d1f0c2b9a7e4c55", START_MS, "ops", "too many", values)


def test_a_threshold_changed_holds_from_the_next_batch_end():
    with running(INLINE) as pipeline:
        for number, batch in enumerate(drifting(5)):
            if number == 3:
                pipeline.apply(command(watch_fidi_z=9), START_MS)
            score(pipeline, batch)

        out = pipeline.out.take()
        (changed,) = events(out, "thresholds-changed")
        assert changed["thresholds_from"] == {"watch.fidi_z": 1.0}
        assert changed["thresholds_to"] == {"watch.fidi_z": 9.0}
        assert [c.why for c in out.commands] == ["too many"]
        assert [e["batch"] for e in events(out, "drift-recovered")] == [4]


def test_a_wrong_order_changes_nothing_and_one_that_changes_nothing_is_silent():
    with running(INLINE) as pipeline:
        before = pipeline.healing.thresholds
        pipeline.out.take()
        pipeline.apply(command(watch_fidi_z=1.0), START_MS)
        assert not pipeline.out.any()

        pipeline.apply(command(watch_fidi_z=2, decision_threshold=0.99), START_MS)

        out = pipeline.out.take()
        assert (actions(out), out.commands) == (["thresholds-refused"], [])
        assert pipeline.healing.thresholds is before


def test_decisions_follow_both_thresholds():
    with running({"decision.threshold": 0.3, "decision.decline_threshold": 0.6}) as pipeline:
        score(pipeline, drifting(1)[0])
        (batch,) = pipeline.out.take().scores

        published = [orjson.loads(v) for _, v in encode.scores(batch, "transactions", "m")]
        for found in published:
            wanted = "approve" if found["score"] < 0.3 else "review"
            assert found["decision"] == ("decline" if found["score"] >= 0.6 else wanted)
        assert {found["decision"] for found in published} == {"approve", "review", "decline"}


def test_the_status_adds_up():
    with running(INLINE, partitions=(0, 1)) as pipeline:
        right = shadow_right = 0
        for batch in [*drifting(4), *drifting(4, partition=1)]:
            score(pipeline, batch)
            labels_of(pipeline, batch)
            scored = pipeline.out.scores[-1]
            fraud = batch.labels.is_fraud == 1
            right += int(((scored.score >= 0.5) == fraud).sum())
            shadow_right += int(((scored.shadow >= 0.5) == fraud).sum())

        found = pipeline.status()
        assert (found.rows, found.labelled, found.batches) == (8 * BATCH,) * 2 + (8,)
        assert found.accuracy == right / (8 * BATCH)
        assert found.shadow_accuracy == shadow_right / (8 * BATCH)
        assert found.heals == len(events(pipeline.out, "heal-deployed"))
        assert (found.partitions, found.labels["matched"]) == (2, 8 * BATCH)


@pytest.fixture(scope="module")
def story():
    """Outputs in which every kind of message occurs."""
    with running(TOUCHY) as pipeline:
        for batch in [*drifting(6), *stream(20 * BATCH, start=6 * BATCH).batches()]:
            score(pipeline, batch)
            labels_of(pipeline, batch)
        pipeline.apply(command(watch_fidi_z=2), START_MS)
        pipeline.apply(command(watch_fidi_z=-1), START_MS)
        letter = Place("transactions", 0, 999, START_MS)
        pipeline.dead_letter(letter, "InvalidJson")
        pipeline.flood(letter, Trip("run", 3, 999, run=100, bad=100, rows=101))
        pipeline.warn("partitioner-mismatch", "transactions by one, labels by another", START_MS)
        for _ in range(1_000 // BATCH):
            labels_of(pipeline, batch)  # again and again
        pipeline.revoke([0], START_MS)
        pipeline.stop("SIGTERM", START_MS, TIMEOUT_S)
        told = pipeline.out.take()
    with running(DIVERGING) as pipeline:
        for batch in drifting(3):
            score(pipeline, batch)
            labels_of(pipeline, batch)
        told.events += pipeline.out.take().events
    return told


def test_every_kind_of_event_conforms(story):
    for event in story.events:
        conforms("event", orjson.loads(encode.event(event)))
    assert {event["event"]["action"] for event in story.events} == set(_SHAPES)


def test_every_other_message_conforms(story):
    for batch in story.scores:
        for key, value in encode.scores(batch, "transactions", "3f2a91c04d5e"):
            conforms("score", orjson.loads(value))
            assert key == orjson.loads(value)["transaction_id"]
    for rows in story.labelled:
        for _, value in encode.labelled(rows, "transactions", FEATURES):
            conforms("labelled", orjson.loads(value))
    for snapshot in story.snapshots:
        conforms("snapshot-manifest", orjson.loads(encode.manifest(snapshot)))
    for record in story.activations:
        conforms("activation", orjson.loads(record.value))
    for order in story.commands:
        conforms("command", orjson.loads(order.value))


def test_without_rules_the_start_says_that_consistency_is_off():
    with running(of=model(rules=())) as pipeline:
        (started,) = events(pipeline.out, "consumer-started")

    assert started["consistency"] is False
    assert "consistency term is off" in pipeline.out.events[0]["message"]


def test_a_second_swap_asks_for_a_commit_first():
    with running(INLINE) as pipeline:
        asked = []
        for batch in drifting(8):
            asked.append(pipeline.swap_needs_commit(0))
            if asked[-1]:
                pipeline.committed()
            score(pipeline, batch)
            labels_of(pipeline, batch)
        # The first activation is the base's; from the heal of batch 3 on every batch swaps.
        assert asked == [False, False, False, True, True, True, True, True]
