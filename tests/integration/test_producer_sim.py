"""The simulator against a real broker: what arrives, in which order, and what an error says."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from consumer.errors import KafkaUnavailableError
from consumer.kafka.embedded import embedded_broker
from consumer.sections import Kafka
from producer_sim.labels import Labelling
from producer_sim.publish import Pace, Publisher
from producer_sim.scenarios import Scenario, sets, stream
from producer_sim.schedule import schedule
from producer_sim.topics import Topics
from producer_sim.training_csv import write
from tests.broker import Broker
from tests.conftest import CreateTopics, Names

Message = tuple[int, bytes, dict[str, Any]]


def command(bootstrap: str, names: Names, *arguments: str) -> list[str]:
    topics = ("--transactions-topic", names.transactions, "--labels-topic", names.labels)
    program = [sys.executable, "-m", "producer_sim", *arguments]
    return [*program, "--bootstrap-servers", bootstrap, *topics]


def published(bootstrap: str, names: Names, *arguments: str) -> str:
    """Run to the end; returns the last line, which has the counts."""
    done = subprocess.run(
        command(bootstrap, names, *arguments),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return done.stderr.splitlines()[-1]


def read(bootstrap: str, topic: str) -> list[Message]:
    """Partition, key and value of every message, a partition after the other."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "none",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    found: list[Message] = []
    try:
        partitions = len(consumer.list_topics(topic, timeout=10).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
        while partitions:
            message = consumer.poll(20)
            assert message is not None, "the broker has fallen silent"
            error, key, value, partition = (
                message.error(),
                message.key(),
                message.value(),
                message.partition(),
            )
            if error is not None:
                assert error.code() == KafkaError._PARTITION_EOF, error
                partitions -= 1
                continue
            assert key is not None
            assert value is not None
            assert partition is not None
            found.append((partition, key, json.loads(value)))
    finally:
        consumer.close()
    return sorted(found, key=lambda message: message[0])


def test_the_articles_run_arrives_in_order_on_partition_0(broker: Broker, names: Names) -> None:
    closing = published(broker.bootstrap, names, "stream", "--label-delay", "30s")
    assert closing.startswith(
        f"published 2,500 transactions to '{names.transactions}' "
        f"and 2,500 labels to '{names.labels}' in "
    )
    transactions = read(broker.bootstrap, names.transactions)
    labels = read(broker.bootstrap, names.labels)
    expected = next(stream(Scenario.paper, 42))
    assert [key.decode() for _, key, _ in transactions] == expected.ids
    assert [value["event_time"] for _, _, value in transactions] == expected.times.tolist()
    x = [list(value["features"].values()) for _, _, value in transactions]
    drawn = np.column_stack(list(expected.features.values()))
    assert np.array(x).astype(np.float32).tobytes() == drawn.tobytes()

    assert [value for _, _, value in labels] == [
        {
            "transaction_id": each,
            "is_fraud": int(label),
            "labelled_at": int(time_ms) + 30_000,
            "source": "chargeback",
        }
        for each, label, time_ms in zip(
            expected.ids, expected.is_fraud, expected.times, strict=True
        )
    ]
    assert {partition for partition, _, _ in transactions + labels} == {0}


def test_over_partitions_a_label_lands_beside_its_transaction(broker: Broker, names: Names) -> None:
    arguments = ("stream", "--scenario", "seed", "--rows", "1000", "--partitions", "3")
    published(broker.bootstrap, names, *arguments, "--label-fraction", "0.5")
    transactions = read(broker.bootstrap, names.transactions)
    labels = read(broker.bootstrap, names.labels)
    assert len(transactions) == 1_000
    assert 400 < len(labels) < 600
    place = {key: partition for partition, key, _ in transactions}
    assert set(place.values()) == {0, 1, 2}
    assert all(place[key] == partition for partition, key, _ in labels)
    for partition in range(3):
        times = [value["event_time"] for at, _, value in transactions if at == partition]
        assert times == sorted(times)


def test_a_topic_that_exists_stays_as_it_is(
    broker: Broker, names: Names, create_topics: CreateTopics
) -> None:
    create_topics(names.transactions, partitions=2)
    create_topics(names.labels, partitions=3)
    done = subprocess.run(
        command(broker.bootstrap, names, "stream", "--partitions", "2"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "2 partitions and" in done.stderr
    assert "labels would not meet their transactions" in done.stderr
    published(broker.bootstrap, names, "stream", "--rows", "10")
    assert {partition for partition, _, _ in read(broker.bootstrap, names.transactions)} == {0}


def test_a_csv_file_is_replayed(broker: Broker, names: Names, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    test = sets(Scenario.paper, 42).test
    write(file, test)
    with file.open("a") as more:
        more.write("broken,soon,1,1,1,1,1,1,1,1,1,1,1\n")
    closing = published(broker.bootstrap, names, "replay", str(file))
    assert closing.endswith("; 1 malformed rows left out")
    found = read(broker.bootstrap, names.transactions)
    assert [key.decode() for _, key, _ in found] == test.ids
    x = [list(value["features"].values()) for _, _, value in found]
    expected = np.column_stack(list(test.features.values()))
    assert np.array(x).astype(np.float32).tobytes() == expected.tobytes()
    assert [value["is_fraud"] for _, _, value in read(broker.bootstrap, names.labels)] == (
        test.is_fraud.tolist()
    )


def test_a_file_out_of_order_is_published_up_to_there(
    broker: Broker, names: Names, tmp_path: Path
) -> None:
    file = tmp_path / "rows.csv"
    lines = [f"t{number},{1_767_225_600_000 + number},1" for number in range(10_000)]
    lines[9_000] = "early,1767225600000,1"
    file.write_text("\n".join(["transaction_id,event_time,V1", *lines]))
    done = subprocess.run(
        command(broker.bootstrap, names, "replay", str(file)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    *_, closing, error = done.stderr.splitlines()
    assert closing.startswith("not all: published 8,192 transactions")
    assert "line 9002 is of 2026-01-01T00:00:00.000+00:00" in error
    assert len(read(broker.bootstrap, names.transactions)) == 8_192


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_it_in_good_order(
    broker: Broker, names: Names, number: signal.Signals
) -> None:
    program = subprocess.Popen(
        command(broker.bootstrap, names, "stream", "--rate", "200"),
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for_messages(broker, names.transactions, 50)
    program.send_signal(number)
    _, shown = program.communicate(timeout=10)
    assert program.returncode == 130
    found = read(broker.bootstrap, names.transactions)
    assert shown.splitlines()[-1].startswith(f"stopped: published {len(found):,} transactions")
    assert 50 <= len(found) < 2_500
    assert len(read(broker.bootstrap, names.labels)) in (len(found), len(found) - 1)


def test_the_rate_is_kept(broker: Broker, names: Names) -> None:
    closing = published(broker.bootstrap, names, "stream", "--rate", "500", "--rows", "1000")
    # The last of 1,000 leaves after 2 s; what is on top is the last tick and the broker's answer.
    seconds = float(closing.split(" in ")[1].split(" s ")[0])
    assert 1.9 < seconds < 4
    created = read(broker.bootstrap, names.transactions)
    assert len(created) == 1_000


def test_a_restart_of_the_broker_loses_nothing_and_repeats_nothing(
    broker: Broker, names: Names
) -> None:
    program = subprocess.Popen(
        command(broker.bootstrap, names, "stream", "--rate", "500"),
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for_messages(broker, names.transactions, 100)
    broker.kill()
    broker.start()
    _, shown = program.communicate(timeout=60)
    assert program.returncode == 0, shown
    expected = next(stream(Scenario.paper, 42)).ids
    for topic in (names.transactions, names.labels):
        assert [key.decode() for _, key, _ in read(broker.bootstrap, topic)] == expected


def test_a_lost_message_is_noticed(
    broker: Broker, names: Names, create_topics: CreateTopics
) -> None:
    create_topics(names.transactions, names.labels)
    nowhere = Topics(names.transactions, names.labels, partition=7)
    publisher = Publisher(Kafka(bootstrap_servers=broker.bootstrap), nowhere, Pace(None))
    messages = schedule(stream(Scenario.paper, 42, rows=10), Labelling())
    with pytest.raises(KafkaUnavailableError, match=r"not delivered to .*: .*[Uu]nknown partition"):
        send(publisher, messages)


def send(publisher: Publisher, messages: Iterator[Any]) -> None:
    publisher.publish(messages, lambda _: None)
    publisher.finish()


def wait_for_messages(broker: Broker, topic: str, messages: int) -> None:
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "none"})
    deadline = time.monotonic() + 30
    try:
        while time.monotonic() < deadline:
            if topic in consumer.list_topics(timeout=10).topics:
                with suppress(KafkaException):  # a topic just made has no leader yet
                    _, end = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=10)
                    if end >= messages:
                        return
            time.sleep(0.1)
    finally:
        consumer.close()
    pytest.fail(f"{topic} has not come to {messages} messages")


def test_the_embedded_broker_serves_too(names: Names) -> None:
    with embedded_broker() as bootstrap:
        published(bootstrap, names, "stream", "--rows", "200")
        found = read(bootstrap, names.transactions)
    assert [partition for partition, _, _ in found] == [0] * 200
