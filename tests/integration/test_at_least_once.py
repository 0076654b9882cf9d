"""Delivery without transactions: nothing is lost, and after a crash some of it comes twice."""

from pathlib import Path

from confluent_kafka import Consumer, TopicPartition

from tests.broker import Broker
from tests.conftest import CreateTopics, Names
from tests.integration import consuming, killing

ROWS = 4_000


def test_at_least_once_loses_nothing_when_it_is_killed(
    broker: Broker, names: Names, create_topics: CreateTopics, tmp_path: Path
) -> None:
    create_topics(names.transactions, names.labels)
    consuming.model(tmp_path / "model")
    settings = consuming.settings(broker.bootstrap, names, delivery="at_least_once")
    consuming.send(settings, consuming.drifting(ROWS, seed=5), range(ROWS), delay_ms=1_000)

    found = killing.run_and_kill(
        settings,
        tmp_path / "model",
        tmp_path,
        points=["produced:3"],
        more=("--inline", "--set", "delivery=at_least_once"),
    )

    assert found.deaths == 1
    assert {offset for _, offset in killing.scores(settings)} == set(range(ROWS))
    assert killing.checkpoint(settings, 0)["pipeline"]["joined"] == ROWS
    group = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": names.application_id})
    topics = [TopicPartition(topic, 0) for topic in (names.transactions, names.labels)]
    assert [place.offset for place in group.committed(topics, timeout=10)] == [ROWS, ROWS]
    group.close()
