"""What came of every record: scores, dead letters, joined rows, decisions, and the counts of it."""

from collections import Counter
from typing import Any

import orjson
import pytest
from confluent_kafka import Consumer, TopicPartition

from consumer.kafka import dead_letters
from consumer.kafka.reader import Reader
from consumer.pipeline import HEALER
from consumer.settings import Settings
from tests.integration import consuming

Place = tuple[int, int]  # partition, offset

# What is said of a process's own life differs from run to run; all else must be the same.
OF_PROCESS = {
    "consumer-started",
    "consumer-stopped",
    "partitions-assigned",
    "partitions-revoked",
}


def ends(settings: Settings, topic: str) -> list[int]:
    """End offset of each partition, up to the first transaction that is open.

    Raises: KafkaException where no broker answers within a second.
    """
    servers = settings.kafka.bootstrap_servers
    reader = Consumer({"bootstrap.servers": servers, "group.id": "ends", "log_level": 0})
    try:
        partitions = reader.list_topics(topic, timeout=1).topics[topic].partitions
        found = [
            reader.get_watermark_offsets(TopicPartition(topic, number), timeout=1)
            for number in sorted(partitions)
        ]
        return [marks[1] if marks else 0 for marks in found]
    finally:
        reader.close()


def inputs(settings: Settings, topic: str) -> Counter[Place]:
    """Every place of an input topic, once."""
    found = ends(settings, topic)
    return Counter((number, at) for number, end in enumerate(found) for at in range(end))


def scores(settings: Settings) -> dict[Place, list[dict[str, Any]]]:
    """Every published score by the place of its transaction."""
    found: dict[Place, list[dict[str, Any]]] = {}
    for score in consuming.messages(settings, "scores"):
        found.setdefault((score["partition"], score["offset"]), []).append(score)
    return found


def letters(settings: Settings, topic: str) -> Counter[Place]:
    """How many dead letters the records of an input topic became, by place."""
    found: Counter[Place] = Counter()
    for record in consuming.records(settings, "dead-letters"):
        letter = dead_letters.received(record)
        assert letter is not None
        if letter.record.topic == topic:
            found[letter.record.partition, letter.record.offset] += 1
    return found


def of_transactions(settings: Settings) -> Counter[Place]:
    """How many scores and dead letters the transactions became, by place."""
    topic = settings.input.transactions.topic
    scored = {place: len(found) for place, found in scores(settings).items()}
    return Counter(scored) + letters(settings, topic)


def decisions(settings: Settings) -> list[dict[str, Any]]:
    """Every event but those of the process's own life, in order.

    Without what the application's name sets.
    """
    found = consuming.messages(settings, "events")
    for event in found:
        del event["event"]["id"]
        del event["service"]
        event["reflexive"].pop("previous", None)
    return [event for event in found if event["event"]["action"] not in OF_PROCESS]


def labelled(settings: Settings) -> dict[int, list[dict[str, Any]]]:
    """Joined rows by partition, in their order."""
    found: dict[int, list[dict[str, Any]]] = {}
    for row in consuming.messages(settings, "labelled"):
        found.setdefault(row["partition"], []).append(row)
    return found


def checkpoint(settings: Settings, partition: int) -> dict[str, Any]:
    """The last one: counts, sums, windows and states."""
    with Reader(settings.kafka) as reader:
        (message,) = reader.last(settings.topic("checkpoints"), partition, 1)
    found: dict[str, Any] = orjson.loads(message.value() or b"")
    return found


def assert_same(one: Settings, other: Settings, *, partitions: int) -> None:
    """The whole output of the one is that of the other, and neither lacks or doubles anything."""
    wanted = inputs(one, one.input.transactions.topic)
    assert of_transactions(one) == of_transactions(other) == wanted
    labels = one.input.labels.topic
    assert letters(one, labels) == letters(other, labels)
    expected = scores(other)
    for place, (score,) in scores(one).items():
        (same,) = expected[place]
        for name in ("score", "shadow_score"):
            # The last bits depend on how many rows are scored together.
            assert score.pop(name) == pytest.approx(same.pop(name), abs=1e-6)
        assert score == same
    both = zip(decisions(one), decisions(other), strict=True)
    assert not (differ := [pair for pair in both if pair[0] != pair[1]]), (len(differ), differ[:2])
    assert labelled(one) == labelled(other)
    for partition in range(partitions):
        both_kept = checkpoint(one, partition), checkpoint(other, partition)
        for kept in both_kept:
            if partition == HEALER:
                del kept["head"]["sha256"]  # as the application's name
        assert both_kept[0] == both_kept[1]
