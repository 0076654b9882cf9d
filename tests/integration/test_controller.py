"""The threshold controller on a stream through Kafka: each of its answers is an event."""

import time
from typing import Any

import numpy as np
import pytest

from consumer import standing
from consumer.loop import Loop, OnStatus
from consumer.model_directory import Model
from consumer.rows import Rows
from consumer.settings import Settings
from tests.broker import Broker
from tests.conftest import CreateTopics, Names
from tests.integration import consuming
from tests.schemas import conforms

WINDOW = 1_000
COSTS = {"cost__missed_fraud": 5000, "cost__false_alarm": [200]}


def part(count: int, seed: int, *, legit: float = 0.0, fraud: float = -2.5) -> Rows:
    """As `consuming.rows`, with the means of V14 that are asked for."""
    draws = np.random.default_rng(seed)
    label = (draws.random(count) < 0.15).astype(np.float32)
    x = draws.standard_normal((count, 3)).astype(np.float32)
    x[:, 1] = np.where(label == 1, 0.8 * x[:, 1] + fraud, x[:, 1] + legit)
    return Rows(consuming.FEATURES, x, label)


def story() -> Rows:
    """Seven windows; on the first, third, fifth and seventh the controller proposes."""
    none = part(WINDOW, 1)
    none.label[:] = 0
    # Few are suspected and rightly so, then all rows come as they did in training.
    turned = (part(660, 5, legit=-2.0, fraud=-6.0), part(340, 6))
    parts = [
        none,  # insufficient_data
        part(WINDOW, 2),  # no_prior
        part(WINDOW, 3),  # accept: frauds are dear, far fewer than half need be sure
        part(WINDOW, 4),  # stable
        *turned,  # reject
        part(WINDOW, 7, legit=-1.2, fraud=-5.0),  # rollback: what is suspected now is legitimate
        part(WINDOW, 8),
    ]
    return Rows(
        consuming.FEATURES,
        np.concatenate([one.x for one in parts]),
        np.concatenate([one.label for one in parts]),
    )


def judged(settings: Settings) -> list[dict[str, Any]]:
    """What the controller said, whole events."""
    events = consuming.messages(settings, "events")
    return [event for event in events if "controller" in event["reflexive"]]


def answers(settings: Settings) -> list[str]:
    return [event["reflexive"]["controller"]["answer"] for event in judged(settings)]


def options(names: Names, broker: Broker, **more: Any) -> Settings:
    given = {"decision__controller": True, "heal__policy": "frozen", **COSTS, **more}
    return consuming.settings(broker.bootstrap, names, heal__mode="inline", **given)


def test_every_answer_is_reached_and_put_in_force(
    broker: Broker, names: Names, create_topics: CreateTopics, model: Model
) -> None:
    create_topics(names.transactions, names.labels)
    settings = options(names, broker)
    table = story()
    consuming.send(settings, table, range(len(table.label)))
    consuming.consume(settings, model)

    said = judged(settings)
    assert [event["reflexive"]["controller"]["answer"] for event in said] == [
        *("insufficient_data", "no_prior", "accept", "stable", "reject", "rollback", "accept"),
    ]
    changing = {"accept", "rollback"}
    for event in said:
        conforms("event", event)
        changed = event["reflexive"]["controller"]["answer"] in changing
        assert (event["event"]["action"] == "thresholds-changed") == changed
        assert event["reflexive"]["controller"]["rows"] == WINDOW
    # In force is what was said, from the row after the window's last label on.
    scores = consuming.messages(settings, "scores")
    for event in said:
        offset = event["reflexive"]["offset"]
        now = event["reflexive"]["controller"]
        assert scores[offset]["threshold"] == now["before"]
        if offset + 1 < len(scores):
            assert scores[offset + 1]["threshold"] == now["threshold"]
    assert scores[3_500]["threshold"] < 0.2
    assert scores[6_500]["threshold"] == 0.5
    # And recorded as an order, by whom and why.
    ordered = consuming.messages(settings, "commands")
    assert [command["issued_by"] for command in ordered] == ["controller"] * 3
    assert [c["thresholds"] for c in ordered] == [
        event["reflexive"]["thresholds_to"]
        for event in said
        if "thresholds_to" in event["reflexive"]
    ]
    for command in ordered:
        conforms("command", command)


def test_a_restart_goes_on_with_the_threshold_and_the_window(
    broker: Broker, names: Names, create_topics: CreateTopics, model: Model
) -> None:
    create_topics(names.transactions, names.labels)
    table = story()
    settings = options(names, broker)
    # Stopped three times: within a window, after the first accept, and before the rollback.
    for first, last in ((0, 1_450), (1_450, 3_050), (3_050, 5_720), (5_720, 7_000)):
        consuming.send(settings, table, range(first, last))
        consuming.consume(settings, model)

    alone = Names(f"{names.application_id}-alone", names.transactions, names.labels)
    consuming.consume(options(alone, broker), model)

    def told(found: Settings) -> list[tuple[Any, ...]]:
        return [
            (e["@timestamp"], e["reflexive"]["offset"], e["reflexive"]["controller"])
            for e in judged(found)
        ]

    assert len(told(settings)) == 7
    assert told(settings) == told(options(alone, broker))
    both = [consuming.messages(found, "scores") for found in (settings, options(alone, broker))]
    limits = [[score["threshold"] for score in scores] for scores in both]
    assert limits[0] == limits[1]
    started = [
        event["reflexive"]["thresholds_to"]["decision.threshold"]
        for event in consuming.messages(settings, "events")
        if event["event"]["action"] == "consumer-started"
    ]
    assert started == [0.5, 0.5, limits[0][3_049], limits[0][5_719]]
    assert limits[0][3_049] < 0.2


ORDER = {
    "command": "set-thresholds",
    "command_id": "lower",
    "issued_at": consuming.START_MS,
    "issued_by": "ops",
    "why": "fraud is about",
    "thresholds": {"decision.threshold": 0.15},
}


@pytest.mark.parametrize("controller", [True, False])
def test_replicas_that_do_not_heal_follow_the_controller_and_orders(
    broker: Broker, names: Names, create_topics: CreateTopics, model: Model, controller: bool
) -> None:
    create_topics(names.transactions, names.labels, partitions=2)
    more: dict[str, Any] = {"decision__controller": controller, "input__order": "arrival"}
    settings = [options(names, broker, instance_id=name, **more) for name in "ab"]
    owned: dict[str, int] = {}

    def follow(name: str) -> OnStatus:
        return lambda status: owned.update({name: status.partitions})

    loops = [Loop(one, model, on_status=follow(one.instance_id)) for one in settings]
    running = [consuming.in_background(loop) for loop in loops]
    try:
        table = part(WINDOW, 3)
        deadline = time.monotonic() + 90
        while owned != {"a": 1, "b": 1}:
            assert time.monotonic() < deadline, owned
            time.sleep(0.1)
        consuming.send(settings[0], table, range(WINDOW), partition=0)
        if not controller:
            standing.send(settings[0], ORDER)
        moved, number = False, WINDOW
        while not moved:
            assert time.monotonic() < deadline, answers(settings[0])
            time.sleep(0.5)
            consuming.send(settings[0], table, range(number, number + 1), partition=1)
            number += 1
            scores = consuming.messages(settings[0], "scores")
            moved = any(s["partition"] == 1 and s["threshold"] < 0.2 for s in scores)
    finally:
        for loop in loops:
            loop.stop("enough")
        for thread, _ in running:
            thread.join(30)
    assert [raised for _, raised in running] == [[], []]
    assert answers(settings[0]) == (["accept"] if controller else [])
    if not controller:  # and who starts later begins with it
        consuming.consume(settings[0], model)
        started = [
            event["reflexive"]["thresholds_to"]["decision.threshold"]
            for event in consuming.messages(settings[0], "events")
            if event["event"]["action"] == "consumer-started"
        ]
        assert started == [0.5, 0.5, 0.15]


def test_without_the_setting_nothing_is_moved(
    broker: Broker, names: Names, create_topics: CreateTopics, model: Model
) -> None:
    create_topics(names.transactions, names.labels)
    settings = options(names, broker, decision__controller=False)
    consuming.send(settings, story(), range(3_100))
    consuming.consume(settings, model)

    assert answers(settings) == []
    assert {score["threshold"] for score in consuming.messages(settings, "scores")} == {0.5}
