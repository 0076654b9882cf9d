"""Reading a topic from its beginning to its end, on librdkafka's own mock broker."""

import pytest
from confluent_kafka import Producer

from consumer.errors import KafkaUnavailableError
from consumer.kafka.reader import read_all
from consumer.sections import Kafka


@pytest.fixture(scope="module")
def mock() -> Producer:
    """A producer that carries a one-node cluster inside; it makes topics of four partitions."""
    return Producer({"test.mock.num.brokers": 1, "log_level": 2})


@pytest.fixture(scope="module")
def kafka(mock: Producer) -> Kafka:
    (node,) = mock.list_topics(timeout=10).brokers.values()
    return Kafka(bootstrap_servers=f"{node.host}:{node.port}", connect_timeout_s=5)


def create(producer, topic):
    producer.list_topics(topic, timeout=10)


def test_every_record_comes_once_each_partition_in_order(mock, kafka):
    create(mock, "many")
    for number in range(2_500):
        mock.produce("many", key=str(number), value=b"v", partition=number % 3)
    mock.flush()

    records = list(read_all(kafka, "many"))

    assert sorted(int(r.key) for r in records) == list(range(2_500))
    for partition in range(3):
        offsets = [r.offset for r in records if r.partition == partition]
        assert offsets == list(range(len(offsets)))


def test_a_record_is_handed_over_as_it_was_written(mock, kafka):
    create(mock, "one")
    headers = [("manifest", b"{}"), ("empty", None), ("manifest", b"again")]
    mock.produce("one", key=b"k", value=b"v", headers=headers, timestamp=1_767_225_600_000)
    mock.flush()

    (found,) = read_all(kafka, "one")

    assert (found.topic, found.offset, found.timestamp_ms) == ("one", 0, 1_767_225_600_000)
    assert (found.key, found.value, found.headers) == (b"k", b"v", headers)


def test_a_tombstone_and_a_missing_key_are_none(mock, kafka):
    create(mock, "bare")
    mock.produce("bare", key=b"k", value=None, partition=0)
    mock.produce("bare", value=b"", partition=0)
    mock.flush()

    tombstone, keyless = read_all(kafka, "bare")

    assert (tombstone.key, tombstone.value) == (b"k", None)
    assert (keyless.key, keyless.value) == (None, b"")


def test_what_is_written_after_the_call_is_left_out(mock, kafka):
    create(mock, "growing")
    for value in (b"0", b"1"):
        mock.produce("growing", value=value, partition=0)
    mock.flush()

    reading = read_all(kafka, "growing")
    for partition in (0, 1):
        mock.produce("growing", value=b"late", partition=partition)
    mock.flush()

    assert [r.value for r in reading] == [b"0", b"1"]


def test_an_empty_topic_has_no_records(mock, kafka):
    create(mock, "empty")

    assert list(read_all(kafka, "empty")) == []


def test_a_missing_topic_is_named_before_anything_is_read(kafka):
    with pytest.raises(KafkaUnavailableError, match="topic 'missing' does not exist"):
        read_all(kafka, "missing")


def test_a_missing_broker_is_named():
    nowhere = Kafka(bootstrap_servers="127.0.0.1:1", connect_timeout_s=0.5)

    with pytest.raises(KafkaUnavailableError, match=r"127\.0\.0\.1:1"):
        read_all(nowhere, "any")
