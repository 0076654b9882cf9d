"""Labels that come twice, change, disagree, or come when they should not; and a sample of them."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer

from consumer.kafka.client import producer
from consumer.model_directory import Model
from consumer.settings import DAY_MS, Settings
from tests.broker import Broker
from tests.conftest import CreateTopics, Names
from tests.integration import consuming, outcomes
from tests.schemas import conforms

TABLE = consuming.rows(3_000, seed=51)


def send(settings: Settings, topic: str, messages: Iterable[dict[str, Any]]) -> None:
    out = producer(settings.kafka)
    for message in messages:
        out.produce(topic, orjson.dumps(message), key=message["transaction_id"], partition=0)
    assert out.flush(30) == 0


def transactions(numbers: Iterable[int], later_ms: int = 0) -> list[dict[str, Any]]:
    found = [consuming.transaction(number, TABLE) for number in numbers]
    return [message | {"event_time": message["event_time"] + later_ms} for message in found]


def label(number: int, delay_ms: int, **given: object) -> dict[str, Any]:
    return consuming.label(number, TABLE, delay_ms) | given


def events(settings: Settings, action: str) -> list[dict[str, Any]]:
    found = consuming.messages(settings, "events")
    found = [event for event in found if event["event"]["action"] == action]
    for event in found:
        conforms("event", event)
    return found


def test_each_kind_of_trouble_is_counted_and_the_label_that_stands_is_published(
    broker: Broker, names: Names, create_topics: CreateTopics, model: Model
) -> None:
    create_topics(names.transactions, names.labels)
    # Of so much room rows that are past the horizon are counted every 1,024 rows.
    room = {"join__horizon_days": 2, "join__max_rows": 8_192}
    settings = consuming.settings(broker.bootstrap, names, **room)
    # Before any transaction: those of 900 to 949, and others whose transactions never come.
    early = [label(number, 500) for number in range(900, 950)]
    orphans = [
        label(0, 1_000, transaction_id=f"o-{number}", labelled_at=consuming.START_MS)
        for number in range(60)
    ]
    send(settings, names.labels, [*early, *orphans])
    consuming.consume(settings, model)
    later_ms = round(2.1 * DAY_MS)
    send(settings, names.transactions, transactions(range(1_000)))
    send(settings, names.transactions, transactions(range(1_000, 2_100), later_ms))

    def flipped(number: int) -> int:
        return 1 - int(TABLE.label[number])

    plain = [label(number, 1_000) for number in range(400)]
    duplicates = [label(number, 1_000) for number in range(70)]
    corrections = [label(n, 2_000, is_fraud=flipped(n)) for n in range(100, 160)]
    outdated = [label(n, 900, is_fraud=flipped(n)) for n in range(200, 255)]
    conflicts = [label(n, 3_000, is_fraud=flipped(n), source="analyst") for n in range(300, 352)]
    overruled = [label(n, 1_000, is_fraud=flipped(n), source="analyst") for n in range(360, 365)]
    # Past the horizon of two days, but within the eighth of it in which a row is known.
    too_late = [label(number, round(2.2 * DAY_MS)) for number in range(500, 580)]
    rest = [label(number, later_ms + 1_000) for number in range(1_000, 1_700)]
    of_one_source = [*plain, *duplicates, *corrections, *outdated]
    send(settings, names.labels, [*of_one_source, *conflicts, *overruled, *too_late, *rest])

    status = consuming.consume(settings, model)

    counts = outcomes.checkpoint(settings, 0)["pipeline"]["join"]["counts"]
    assert counts == {
        "conflict": 57,
        "corrected": 60,
        "duplicate": 70,
        "early": 110,
        "expired": counts["expired"],
        "matched": 400 + 50 + 700,
        "orphan": 60,
        "outdated": 55,
        "too_late": 80,
    }
    assert counts == dict(status.labels)
    # Transactions 0 to 999 but for 450 that have a label; some of them after a last housekeeping.
    assert 500 <= counts["expired"] <= 550

    rows = consuming.messages(settings, "labelled")
    for row in rows:
        conforms("labelled", row)
    first = [row for row in rows if not row["correction"]]
    again = [row for row in rows if row["correction"]]
    assert Counter(row["transaction_id"] for row in first) == Counter(
        f"t-{n:06d}" for n in [*range(400), *range(900, 950), *range(1_000, 1_700)]
    )
    assert [(row["transaction_id"], row["is_fraud"], row["source"]) for row in again] == [
        *((f"t-{n:06d}", flipped(n), "chargeback") for n in range(100, 160)),
        *((f"t-{n:06d}", flipped(n), "analyst") for n in range(300, 352)),
    ]
    assert {row["delay_ms"] for row in again[:60]} == {2_000}
    assert {row["delay_ms"] for row in again[60:]} == {3_000}

    said = events(settings, "labels-in-trouble")
    # 1,532 labels are one full window, in which these were above 50.
    assert [event["reflexive"]["counts"] for event in said] == [
        *({"duplicate": 70}, {"corrected": 60}, {"conflict": 57}, {"outdated": 55}),
        *({"orphan": 60}, {"too_late": 80}),
    ]
    assert all(event["reflexive"]["topic"] == names.labels for event in said)


@pytest.mark.parametrize("of_labels", ["consistent_random", "murmur2_random"])
def test_another_partitioner_of_the_labels_is_named_once(
    broker: Broker, names: Names, create_topics: CreateTopics, model: Model, of_labels: str
) -> None:
    create_topics(names.transactions, names.labels, partitions=4)
    settings = consuming.settings(broker.bootstrap, names)
    numbers = range(1_000)
    for topic, partitioner, messages in (
        (names.transactions, "murmur2_random", transactions(numbers)),
        (names.labels, of_labels, [label(number, 100) for number in numbers]),
    ):
        # The first sends to a new topic may be repeated: each label is to be there once.
        out = Producer(
            {
                "bootstrap.servers": broker.bootstrap,
                "partitioner": partitioner,
                "enable.idempotence": True,
            }
        )
        for message in messages:
            out.produce(topic, orjson.dumps(message), key=message["transaction_id"])
        assert out.flush(30) == 0

    status = consuming.consume(settings, model)

    assert status.rows == 1_000
    found = events(settings, "partitioner-mismatch")
    if of_labels == "murmur2_random":
        assert (found, status.labelled) == ([], 1_000)
        return
    (event,) = found
    assert "by the partitioner murmur2_random, labels by consistent_random" in event["message"]
    assert event["message"].endswith("in the producer of labels")
    # A quarter lies in the right partition by chance.
    assert 150 < status.labelled < 350
    assert status.labels["early"] == 1_000 - status.labelled


def test_above_the_budget_a_sample_stands_for_all(
    broker: Broker, names: Names, create_topics: CreateTopics, model: Model
) -> None:
    create_topics(names.transactions, names.labels)
    settings = consuming.settings(
        broker.bootstrap, names, join__max_rows=200, prequential__window_rows=100
    )
    send(settings, names.transactions, transactions(range(3_000)))
    send(settings, names.labels, [label(number, 60_000) for number in range(3_000)])

    status = consuming.consume(settings, model)

    assert status.rows == len(consuming.messages(settings, "scores")) == 3_000
    rows = consuming.messages(settings, "labelled")
    for row in rows:
        conforms("labelled", row)
    weights = Counter(row["weight"] for row in rows)
    assert set(weights) <= {2.0**level for level in range(12)}
    assert max(weights) >= 4  # 600 rows wait for a minute: a quarter of them at most fit
    counts = status.labels
    assert counts["matched"] == len(rows) < 3_000
    assert counts["matched"] + counts["unsampled"] == 3_000
    # What the sample stands for is what there was: at one in eight, four standard errors are 20%.
    assert sum(row["weight"] for row in rows) == pytest.approx(3_000, rel=0.35)

    windows = events(settings, "prequential")
    assert len(windows) == len(rows) // 100
    for window in windows:
        errors = window["reflexive"]["standard_errors"]
        assert set(errors) == {"healed", "frozen", "healed_so_far", "frozen_so_far"}
        for name, found in errors.items():
            assert 0 < found["accuracy"] < 0.5, name
            assert found["log_loss"] > 0
