"""Through Kafka: a heal that helps all and hurts one country, told by a column of the message."""

from typing import Any

import numpy as np
import orjson
import pytest

from consumer.kafka.client import producer
from consumer.model_directory import Model
from consumer.rows import Rows
from consumer.settings import Settings
from tests.broker import Broker
from tests.conftest import CreateTopics, Names
from tests.integration import consuming
from tests.schemas import conforms

ROWS = 3_000
SPARED = "FR"  # one row in five, as in training; all others have moved
DECLARED = {"country": {"path": "card.country", "values": ["DE", SPARED]}}


def table() -> Rows:
    found = consuming.rows(ROWS, seed=11)
    found.x[np.arange(ROWS) % 5 != 0, 1] -= 2.2
    return found


def send(settings: Settings, rows: Rows, numbers: range) -> None:
    """Countries lie beside the features; of one row in fifty nobody knows its own."""
    out = producer(settings.kafka)
    for number in numbers:
        country = SPARED if number % 5 == 0 else ("DE", "IT")[number % 2]
        card = {} if number % 50 == 49 else {"country": country}
        for topic, message in (
            (settings.input.transactions.topic, consuming.transaction(number, rows)),
            (settings.input.labels.topic, consuming.label(number, rows)),
        ):
            value = orjson.dumps({**message, "card": card})
            out.produce(topic, value, key=message["transaction_id"], partition=0)
        out.poll(0)
    assert out.flush(30) == 0


def verdicts(settings: Settings) -> list[dict[str, Any]]:
    events = consuming.messages(settings, "events")
    for event in events:
        conforms("event", event)
    return [verdict for event in events for verdict in event["reflexive"].get("gate", ())]


@pytest.mark.parametrize("declared", [True, False])
def test_a_heal_that_hurts_one_country_is_refused_where_it_is_declared(
    broker: Broker, names: Names, create_topics: CreateTopics, model: Model, declared: bool
) -> None:
    create_topics(names.transactions, names.labels)
    settings = consuming.settings(
        broker.bootstrap,
        names,
        heal__mode="inline",
        heal__policy="hedge",
        **({"segments": DECLARED} if declared else {}),
    )
    rows = table()
    # Stopped in between: what the rows tell is restored from our own topics.
    for numbers in (range(ROWS // 3), range(ROWS // 3, ROWS)):
        send(settings, rows, numbers)
        consuming.consume(settings, model)

    found = verdicts(settings)
    harms = [verdict for verdict in found if verdict["reason"].startswith("harms")]
    joined = consuming.messages(settings, "labelled")
    for row in joined:
        conforms("labelled", row)
    told = [e["reflexive"] for e in consuming.messages(settings, "events")]
    told = [each for each in told if "healed_so_far" in each]
    if not declared:
        assert any(verdict["admitted"] for verdict in found)
        assert not harms
        assert {tuple(row["segments"]) for row in joined} == {()}
        assert all("segments" not in each for each in told)
        return
    assert harms
    assert not any(verdict["admitted"] for verdict in harms)
    assert {verdict["reason"] for verdict in harms} == {f"harms country={SPARED}"}
    refused = {verdict["expert"] for verdict in harms}
    assert refused >= {"scaling"}
    country = {row["offset"]: row["segments"] for row in joined}
    assert country[0] == [f"country={SPARED}"]
    assert country[1] == ["country=other"]
    assert country[2] == ["country=DE"]
    assert country[49] == ["country=unknown"]
    segments = {each["name"]: each for each in told[-1]["segments"]}
    expected = {f"country={name}" for name in ("DE", SPARED, "other", "unknown")}
    assert set(segments) == expected
    assert segments[f"country={SPARED}"]["rows"] == 200
    spared = segments[f"country={SPARED}"]
    assert spared["log_loss"] < spared["frozen_log_loss"] + 0.05
