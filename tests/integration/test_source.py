"""Reading: records that come one after the other together, and a group that moves."""

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from consumer.kafka import client
from consumer.kafka import source as source_room
from consumer.kafka.record import Run
from consumer.kafka.source import Source
from tests.broker import Broker
from tests.conftest import CreateTopics, Names
from tests.integration import consuming, leaving


class Alone:
    """Nobody else is in the group; `then` begins with its partitions."""

    def __init__(self, then: threading.Timer | None = None) -> None:
        self._then = then

    def assigned(
        self, partitions: Sequence[int], committed: dict[tuple[str, int], int]
    ) -> dict[tuple[str, int], int]:
        if self._then is not None:
            self._then.start()
        return {}

    def revoked(self, partitions: Sequence[int]) -> None:
        pass


class Moved:
    """A consumer whose group another broker keeps now: it is told so once."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self.told = 0

    def committed(self, *asked: Any, **more: Any) -> list[TopicPartition]:
        if not self.told:
            self.told += 1
            raise KafkaException(KafkaError(KafkaError.NOT_COORDINATOR))
        return self._consumer.committed(*asked, **more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)


def test_a_group_that_another_broker_keeps_now_is_asked_again(
    broker: Broker, names: Names, create_topics: CreateTopics
) -> None:
    create_topics(names.transactions, names.labels)
    settings = consuming.settings(broker.bootstrap, names)
    consuming.send_raw(settings, names.transactions, [b"{}"])
    source = Source(settings, Alone())
    moved = Moved(source._consumer)
    source._consumer = moved  # type: ignore[assignment]
    try:
        records: dict[tuple[str, int], Run] = {}
        while not records:
            records = source.poll(20.0).records
        assert moved.told == 1
    finally:
        source.abandon()


def test_a_partition_that_was_paused_when_it_left_is_read_when_it_comes_back(
    broker: Broker, names: Names, create_topics: CreateTopics
) -> None:
    create_topics(names.transactions, names.labels)
    settings = consuming.settings(broker.bootstrap, names)
    for topic in (names.transactions, names.labels):
        consuming.send_raw(settings, topic, [b"{}"] * 3)
    source = Source(settings, Alone())

    def read() -> dict[str, int]:
        counts: Counter[str] = Counter()
        while counts.total() < 6:
            polled = source.poll(20.0)
            assert polled.records or polled.ends, f"only {counts} within 20 s"
            counts.update({topic: len(run) for (topic, _), run in polled.records.items()})
        return dict(counts)

    try:
        both = {names.transactions: 3, names.labels: 3}
        assert read() == both
        source.pause([(names.labels, 0)])
        source.restart()
        assert read() == both
        assert not source.is_paused(names.labels, 0)
        source.pause([(names.labels, 0), (names.transactions, 0)])
        source.close()
    finally:
        source.abandon()


@pytest.mark.parametrize(("until_end", "together"), [(False, 2), (True, 1)])
def test_where_few_are_there_more_are_waited_for(
    broker: Broker,
    names: Names,
    create_topics: CreateTopics,
    monkeypatch: pytest.MonkeyPatch,
    until_end: bool,
    together: int,
) -> None:
    create_topics(names.transactions, names.labels)
    monkeypatch.setattr(source_room, "GATHER_MOST_S", 3.0)
    settings = consuming.settings(broker.bootstrap, names, commit__interval_ms=12_000)
    out = client.producer(settings.kafka)

    def send(key: str) -> None:
        out.produce(names.transactions, b"{}", key, 0)
        out.flush(30)

    send("a")
    later = threading.Timer(1.0, send, ["b"])
    ends = {(names.transactions, 0): 10, (names.labels, 0): 0} if until_end else None
    source = Source(settings, Alone(later), ends)
    try:
        records: dict[tuple[str, int], Run] = {}
        while not records:
            records = source.poll(20.0, 20.0).records
        assert [len(run) for run in records.values()] == [together]
    finally:
        later.join()
        source.abandon()


def test_one_that_leaves_while_it_comes_does_not_wait_for_ever(
    broker: Broker, names: Names, create_topics: CreateTopics
) -> None:
    create_topics(names.transactions, names.labels)
    command = [sys.executable, "-m", leaving.__name__, broker.bootstrap, *astuple(names)]
    subprocess.run(command, check=True, timeout=90)
