"""What the pipeline says: orders followed, totals, and the shape of every kind of message."""

import orjson
import pytest

from consumer import encode
from consumer.breaker import Trip
from consumer.command import SetThresholds
from consumer.events import _SHAPES
from consumer.registry import Place
from tests.pipelines import (
    DIVERGING,
    INLINE,
    ONLY_CONTROLLER,
    ONLY_HEDGE,
    ONLY_PEOPLE,
    TIMEOUT_S,
    TOUCHY,
    drifting,
)
from tests.schemas import conforms
from tests.streams import (
    BATCH,
    FEATURES,
    START_MS,
    actions,
    events,
    labels_of,
    model,
    running,
    score,
    stream,
)


def command(**thresholds):
    values = {name.replace("_", ".", 1): value for name, value in thresholds.items()}
    return SetThresholds(
        command_id="6d1f0c2b9a7e4c55",
        issued_at=START_MS,
        issued_by="ops",
        why="too many",
        thresholds=values,
    )


def test_a_threshold_changed_holds_from_the_next_batch_end():
    with running(INLINE) as pipeline:
        for number, batch in enumerate(drifting(5)):
            if number == 3:
                pipeline.governor.apply(command(watch_fidi_z=9), START_MS)
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
        pipeline.governor.apply(command(watch_fidi_z=1.0), START_MS)
        assert not pipeline.out.any()

        pipeline.governor.apply(command(watch_fidi_z=2, decision_threshold=0.99), START_MS)

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
        pipeline.governor.apply(command(watch_fidi_z=2), START_MS)
        pipeline.governor.apply(command(watch_fidi_z=-1), START_MS)
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
    # What takes hundreds of labels, or a person, is in tests of its own.
    elsewhere = ONLY_HEDGE | ONLY_CONTROLLER | ONLY_PEOPLE | {"rule-disagrees"}
    assert {event["event"]["action"] for event in story.events} == set(_SHAPES) - elsewhere


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
