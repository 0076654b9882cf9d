"""Heals on the worker thread, which take their time: scoring goes on, and what is open may go."""

from tests.pipelines import (
    DIVERGING,
    INLINE,
    THREADED,
    TIMEOUT_S,
    drifting,
    finish,
    heal_in_flight,
    versions,
)
from tests.streams import BATCH, START_MS, actions, events, idle, labels_of, model, running, score


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
        assert [each.version for each in out.deployed] == [3]
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
