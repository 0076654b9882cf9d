"""The two topics: made where they are missing, and where in them messages go."""

from __future__ import annotations

import time
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from consumer.errors import KafkaUnavailableError
from consumer.kafka.client import admin, connect, partitions_of
from consumer.settings import Kafka

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
    missing = [name for name in (transactions, labels) if name not in existing]
    _create(client, missing, partitions, kafka.connect_timeout_s)
    counts = {name: _partitions(client, kafka, name) for name in (transactions, labels)}
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


def _create(client: AdminClient, names: list[str], partitions: int, timeout_s: float) -> None:
    if not names:
        return
    # Replicas: the broker's own default (KIP-464).
    wanted = [NewTopic(name, partitions) for name in names]
    made = client.create_topics(wanted, operation_timeout=timeout_s, request_timeout=timeout_s)
    for name, done in made.items():
        try:
            done.result()
        except KafkaException as error:
            cause = error.args[0]
            if cause.code() == KafkaError.TOPIC_ALREADY_EXISTS:
                continue  # somebody else's, between our two requests
            if cause.code() == KafkaError._UNSUPPORTED_FEATURE:
                continue  # librdkafka's mock broker: it makes a topic when it is first asked for
            raise KafkaUnavailableError(
                f"topic {name!r} cannot be created: {cause.str()}. "
                "Create it yourself, or name another with --transactions-topic, --labels-topic."
            ) from error


def _partitions(client: AdminClient, kafka: Kafka, name: str) -> int:
    # A topic just made takes a moment to reach the metadata.
    deadline = time.monotonic() + kafka.connect_timeout_s
    while True:
        try:
            return partitions_of(client, kafka, name)
        except KafkaUnavailableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
