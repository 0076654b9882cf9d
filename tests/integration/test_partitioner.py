"""Each partitioner as a real producer runs it: where its keys lie is where ours puts them."""

import pytest
from confluent_kafka import Message, Producer

from consumer.partitioner import PARTITIONERS, Guess
from tests.broker import Broker
from tests.conftest import CreateTopics, Names

PARTITIONS = 7
# Of every length modulo 4, with bytes above 127, which a signed char would read otherwise.
KEYS = [f"{'é' * (number % 9)}t-{number}".encode() for number in range(400)]


@pytest.mark.parametrize("name", sorted(PARTITIONERS))
def test_a_producers_partitioner_is_told_from_its_keys(
    name: str, broker: Broker, names: Names, create_topics: CreateTopics
) -> None:
    create_topics(names.transactions, partitions=PARTITIONS)
    placed: dict[bytes, int] = {}

    def delivered(error: object, message: Message) -> None:
        assert error is None
        key, partition = message.key(), message.partition()
        assert isinstance(key, bytes)
        assert partition is not None
        placed[key] = partition

    producer = Producer({"bootstrap.servers": broker.bootstrap, "partitioner": name})
    for key in KEYS:
        producer.produce(names.transactions, b"{}", key=key, on_delivery=delivered)
    assert producer.flush(30) == 0

    guess = Guess(PARTITIONS)
    for key, partition in placed.items():
        guess.see(key, partition)
    assert placed == {key: PARTITIONERS[name](key) % PARTITIONS for key in KEYS}
    assert guess.name == name
