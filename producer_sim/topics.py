"""The two topics: made where they are missing, and where in them messages go."""

from __future__ import annotations

from dataclasses import dataclass

from confluent_kafka.cimpl import NewTopic

from consumer.errors import KafkaUnavailableError
from consumer.kafka.client import admin, connect, partitions_of
from consumer.kafka.topics import create
from consumer.sections import Kafka

BY_KEY = -1  # librdkafka's RD_KAFKA_PARTITION_UA: the partitioner chooses


@dataclass(frozen=True, slots=True)
class Topics:
    """Where messages go."""

    transactions: str
    labels: str
    partition: int  # or BY_KEY
    notes: tuple[str, ...] = ()  # what a person may not expect


def prepare(kafka: Kafka, transactions: str, labels: str, partitions: int) -> Topics:
    """Make the topics that are missing; those that exist stay as they are.

    With one partition asked for, everything goes to partition 0 whatever the topic has.

    Raises: KafkaUnavailableError where no broker answers, a topic cannot be made, or the two have
    not as many partitions as each other, so that labels would not meet their transactions.
    """
    client = admin(kafka)
    existing = connect(client, kafka).topics
    # Replicas: the broker's own default (KIP-464).
    wanted = [NewTopic(name, partitions, -1) for name in (transactions, labels)]
    create(client, kafka, wanted)
    counts = {name: partitions_of(client, kafka, name) for name in (transactions, labels)}
    if partitions > 1 and counts[transactions] != counts[labels]:
        raise KafkaUnavailableError(
            f"topic {transactions!r} has {counts[transactions]} partitions and {labels!r} "
            f"{counts[labels]}: labels would not meet their transactions. Give them as many each."
        )
    notes = []
    for name, count in counts.items():
        if name in existing and count != partitions:
            where = "all goes to partition 0" if partitions == 1 else "it stays so"
            notes.append(f"topic {name!r} has {count} partition{'s' * (count > 1)}: {where}")
    return Topics(transactions, labels, 0 if partitions == 1 else BY_KEY, tuple(notes))
