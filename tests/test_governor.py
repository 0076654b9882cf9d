"""The controller's host: what it feeds, what it puts in force, and who may overrule it."""

from dataclasses import replace

import numpy as np
import orjson
import pytest

from consumer.command import SetThresholds
from consumer.errors import SettingsError
from consumer.governor import Governor
from consumer.registry import THRESHOLDS, Place
from tests.streams import BATCH, START_MS, V14, events, labels_of, running, score, stream

ON = {
    "decision.controller": True,
    "heal.policy": "frozen",
    "cost.missed_fraud": 1000,
    "cost.false_alarm": [100],
}
WINDOW = 200


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr("consumer.governor.WINDOW_ROWS", WINDOW)


def feed(pipeline, batches):
    for batch in batches:
        score(pipeline, batch)
        labels_of(pipeline, batch)


def turned(rows):
    """Batches for which a high threshold is the cheapest: most that looks like fraud is none."""
    for batch in stream(rows, seed=3, start=rows).batches():
        fraud = (batch.transactions.x[:, V14] < -3.5).astype(np.int8)
        yield replace(batch, labels=replace(batch.labels, is_fraud=fraud))


def answers(out):
    said = [e["reflexive"].get("controller") for e in out.events]
    return [one["answer"] for one in said if one]


def batches(rows=WINDOW, *, seed=9, partition=0):
    return list(stream(rows, seed=seed, partition=partition).batches())


def of_registry(out):
    return [orjson.loads(value) for key, value, _ in out.registry if key == THRESHOLDS]


def test_a_window_ends_with_the_labelled_batch_that_fills_it():
    with running(ON) as pipeline:
        feed(pipeline, batches()[:-1])
        assert answers(pipeline.out) == []
        feed(pipeline, batches()[-1:])
        assert answers(pipeline.out) == ["accept"]


def test_what_is_accepted_is_in_force_and_on_the_registry():
    with running(ON) as pipeline:
        feed(pipeline, batches())
        (changed,) = events(pipeline.out, "thresholds-changed")
        low, high = pipeline.healing.thresholds.decision

        assert changed["thresholds_to"] == {"decision.threshold": low}
        assert changed["thresholds_from"] == {"decision.threshold": 0.5}
        assert (low < 0.5, high) == (True, 0.9)
        assert of_registry(pipeline.out) == [
            {"decision.threshold": low, "decision.decline_threshold": 0.9}
        ]


def test_without_reviews_both_thresholds_move():
    with running(ON | {"decision.decline_threshold": 0.5}) as pipeline:
        feed(pipeline, batches())
        low, high = pipeline.healing.thresholds.decision
        assert low == high < 0.5


def test_rows_of_every_partition_of_the_healer_count():
    with running(ON, partitions=(0, 1)) as pipeline:
        feed(pipeline, batches(WINDOW // 2))
        assert answers(pipeline.out) == []
        feed(pipeline, batches(WINDOW // 2, partition=1))
        assert len(answers(pipeline.out)) == 1
        assert "controller" in pipeline.checkpoint(0)
        assert "controller" not in pipeline.checkpoint(1)


def test_who_does_not_heal_follows_what_the_registry_says_once():
    with running(ON, partitions=(1,)) as pipeline:
        feed(pipeline, batches(partition=1))
        assert answers(pipeline.out) == []

        said = {"decision.threshold": 0.2, "decision.decline_threshold": 0.9}
        pipeline.governor.follow(said)
        assert pipeline.healing.thresholds.decision == (0.2, 0.9)

        # An order of a person's on this replica stands until the healer says something new.
        pipeline.governor.apply(ordered({"decision.threshold": 0.4}), START_MS)
        pipeline.governor.follow(dict(said))
        assert pipeline.healing.thresholds.decision == (0.4, 0.9)
        pipeline.governor.follow(said | {"decision.threshold": 0.3})
        assert pipeline.healing.thresholds.decision == (0.3, 0.9)


def test_an_order_of_a_person_is_what_a_restart_begins_with_and_nothing_is_taken_back():
    with running(ON) as pipeline:
        feed(pipeline, batches())
        assert answers(pipeline.out) == ["accept"]
        pipeline.governor.apply(ordered({"decision.threshold": 0.6}), START_MS)
        assert of_registry(pipeline.out)[-1]["decision.threshold"] == 0.6
        feed(pipeline, list(stream(WINDOW, seed=3, start=WINDOW).batches()))

        assert answers(pipeline.out) == ["accept", "no_prior"]
        assert pipeline.healing.thresholds.decision == (0.6, 0.9)


def test_its_state_begins_again_where_it_was():
    with running(ON) as pipeline:
        feed(pipeline, batches(WINDOW + 3 * BATCH))
        state = orjson.loads(orjson.dumps(pipeline.checkpoint(0)["controller"]))

        again = Governor(
            pipeline._settings, pipeline._model, pipeline._events, pipeline.out, pipeline.healing
        )
        again.begin(state)

        assert again.state() == pipeline.governor.state()
        assert (state["waiting_rows"], state["judges"], state["prior"]) == (60, True, 0.5)


def test_an_order_of_the_other_threshold_is_nothing_to_go_back_behind():
    with running(ON) as pipeline:
        feed(pipeline, batches())
        low, _ = pipeline.healing.thresholds.decision
        pipeline.governor.apply(ordered({"decision.decline_threshold": 0.45}), START_MS)
        feed(pipeline, turned(WINDOW))

        assert answers(pipeline.out) == ["accept", "no_prior"]
        assert pipeline.healing.thresholds.decision == (low, 0.45)


def test_settings_of_a_restart_may_lie_below_what_was_before():
    with running(ON) as pipeline:
        feed(pipeline, batches())
        state = orjson.loads(orjson.dumps(pipeline.checkpoint(0)["controller"]))
        said = of_registry(pipeline.out)[-1]
    with running(ON | {"decision.decline_threshold": 0.45, "decision.threshold": 0.4}) as pipeline:
        pipeline.governor.begin(state)
        pipeline.governor.follow(said | {"decision.decline_threshold": 0.45})
        feed(pipeline, turned(WINDOW))

        assert answers(pipeline.out) == ["no_prior"]


OFF = {"decision.controller": False}


def test_an_order_over_the_commands_topic_is_for_every_replica_and_for_restarts():
    place = Place("commands", 0, 3, START_MS)
    with running(OFF) as pipeline:
        pipeline.command(ordered({"watch.fidi_z": 2.5}), place)
        again = ordered({"decision.threshold": 0.4}).model_copy(update={"command_id": "b"})
        pipeline.command(again, place)
        told = of_registry(pipeline.out)

    assert told == [
        {"watch.fidi_z": 2.5, "ordered": True},
        {
            "watch.fidi_z": 2.5,
            "ordered": True,
            "decision.threshold": 0.4,
            "decision.decline_threshold": 0.9,
        },
    ]
    # Another replica, with settings that the order alone would contradict.
    flags = OFF | {"decision.threshold": 0.2, "decision.decline_threshold": 0.3}
    with running(flags, partitions=(1,)) as follower:
        follower.governor.follow(told[-1])
        assert follower.healing.thresholds.decision == (0.4, 0.9)
        assert follower.healing.thresholds.watch_fidi_z == 2.5
        assert of_registry(follower.out) == []
    # It heals one day: what was ordered before stands beside what is ordered then.
    with running(OFF) as healer:
        healer.governor.follow(told[0])
        healer.command(again, place)
        assert of_registry(healer.out) == told[1:]


def test_a_file_is_an_order_to_the_replica_that_reads_it_alone():
    with running(OFF) as pipeline:
        pipeline.governor.apply(ordered({"decision.threshold": 0.4}), START_MS)
        assert of_registry(pipeline.out) == []


def test_off_it_keeps_nothing_and_follows_no_controller():
    with running(ON | OFF) as pipeline:
        feed(pipeline, batches())
        pipeline.governor.follow({"decision.threshold": 0.2})

        assert answers(pipeline.out) == of_registry(pipeline.out) == []
        assert "controller" not in pipeline.checkpoint(0)
        assert pipeline.healing.thresholds.decision == (0.5, 0.9)


def test_one_threshold_cannot_be_moved_where_each_amount_has_its_own():
    flags = ON | {"cost.amount_feature": "V3", "decision.from_costs": True}
    said = r"decision\.controller: it moves one threshold"
    with pytest.raises(SettingsError, match=said), running(flags):
        pass


def test_amounts_decide_what_is_cheapest():
    thresholds = []
    for flags in ({}, {"cost.amount_feature": "V3"}):
        with running(ON | flags) as pipeline:
            feed(pipeline, batches())
            thresholds.append(pipeline.healing.thresholds.decision[0])
            assert np.isfinite(thresholds[-1])
    # Amounts near 1 against alarms of 100: nothing is worth an alarm.
    assert thresholds[0] < 0.5 < thresholds[1]


def test_an_order_of_what_the_healer_has_already_is_for_the_other_replicas_all_the_same():
    with running(OFF | {"decision.threshold": 0.4}) as pipeline:
        pipeline.command(ordered({"decision.threshold": 0.4}), Place("commands", 0, 3, START_MS))

        (told,) = of_registry(pipeline.out)
        assert told["decision.threshold"] == 0.4
        assert events(pipeline.out, "thresholds-changed") == []


def test_an_order_that_could_not_be_followed_may_come_again():
    place = Place("commands", 0, 3, START_MS)
    low = ordered({"decision.threshold": 0.95})
    high = ordered({"decision.decline_threshold": 0.99}).model_copy(update={"command_id": "b"})
    with running(OFF) as pipeline:
        for order in (low, high, low):
            pipeline.command(order, place)

        assert len(events(pipeline.out, "thresholds-refused")) == 1
        assert pipeline.healing.thresholds.decision == (0.95, 0.99)


def ordered(thresholds):
    return SetThresholds(
        command_id="1", issued_at=START_MS, issued_by="ops", why="why", thresholds=thresholds
    )
