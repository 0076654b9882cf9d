"""What a restart reads, on a real broker: to the end, and no longer."""

import time
from statistics import median

from confluent_kafka import Producer

from consumer.kafka.reader import Reader
from consumer.sections import Kafka
from tests.broker import Broker
from tests.conftest import CreateTopics, Names


def test_the_end_of_a_topic_is_found_without_waiting_for_more(
    broker: Broker, names: Names, create_topics: CreateTopics
) -> None:
    create_topics(names.labels)
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for number in range(20):
        producer.produce(names.labels, str(number).encode(), partition=0)
    assert producer.flush(30) == 0

    seconds = []
    with Reader(Kafka(bootstrap_servers=broker.bootstrap)) as reader:
        for _ in range(5):
            begun = time.monotonic()
            (last,) = reader.last(names.labels, 0, 1)
            seconds.append(time.monotonic() - begun)
            assert last.value() == b"19"

    # A broker holds an empty fetch back for half a second, unless it is asked not to.
    assert median(seconds) < 0.4
