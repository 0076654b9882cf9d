"""The topics: the two inputs are another team's, the others are ours to create and to check."""

from __future__ import annotations

from typing import NamedTuple

import structlog
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewTopic

from consumer.errors import KafkaUnavailableError
from consumer.kafka import client
from consumer.settings import Settings

log = structlog.get_logger()


class Policy(NamedTuple):
    """What one of our topics must be."""

    cleanup: str  # cleanup.policy
    follows_transactions: bool  # as many partitions as the transactions topic, else one


OURS = {
    "scores": Policy("delete", follows_transactions=True),
    "labelled": Policy("delete", follows_transactions=True),
    "dead-letters": Policy("delete", follows_transactions=True),
    "events": Policy("delete", follows_transactions=False),
    "commands": Policy("delete", follows_transactions=False),
    "registry": Policy("compact", follows_transactions=False),
}


def ensure(settings: Settings) -> int:
    """Check the inputs, create what is missing of ours, check what is there.

    Returns the number of partitions of the transactions topic.
    Raises: KafkaUnavailableError, naming the topic and what is wrong with it.
    """
    kafka = settings.kafka
    admin = client.admin(kafka)
    client.connect(admin, kafka)
    names = settings.input
    partitions = client.partitions_of(admin, kafka, names.transactions.topic)
    of_labels = client.partitions_of(admin, kafka, names.labels.topic)
    if partitions != of_labels:
        raise KafkaUnavailableError(
            f"topics {names.transactions.topic!r} and {names.labels.topic!r} have {partitions} "
            f"and {of_labels} partitions: a label would not be read beside its transaction. "
            "Give both the same number, keyed by transaction id with the same partitioner."
        )
    there = set(client.connect(admin, kafka).topics)
    missing = {name: policy for name, policy in OURS.items() if settings.topic(name) not in there}
    if missing:
        _create(admin, settings, missing, partitions)
    _check(admin, settings, partitions)
    return partitions


def _create(
    admin: AdminClient, settings: Settings, missing: dict[str, Policy], partitions: int
) -> None:
    wanted = [
        NewTopic(
            settings.topic(name),
            num_partitions=partitions if policy.follows_transactions else 1,
            replication_factor=-1,  # the broker's default
            config={"cleanup.policy": policy.cleanup},
        )
        for name, policy in missing.items()
    ]
    timeout_s = settings.kafka.connect_timeout_s
    for name, made in admin.create_topics(wanted, request_timeout=timeout_s).items():
        try:
            made.result(timeout=timeout_s + 5)
        except KafkaException as error:
            found: KafkaError = error.args[0]
            if found.code() == KafkaError.TOPIC_ALREADY_EXISTS:
                continue  # another replica was quicker
            if found.code() == KafkaError._UNSUPPORTED_FEATURE:
                # The embedded broker knows no CreateTopics: asking for a topic makes it.
                client.partitions_of(admin, settings.kafka, name)
                continue
            raise KafkaUnavailableError(
                f"topic {name!r} cannot be created: {found.str()}. Create it beforehand "
                f"(cleanup.policy={OURS[_short(settings, name)].cleanup}), or allow us to."
            ) from error


def _check(admin: AdminClient, settings: Settings, partitions: int) -> None:
    for name, policy in OURS.items():
        topic = settings.topic(name)
        found = client.partitions_of(admin, settings.kafka, topic)
        if policy.follows_transactions and found < partitions:
            raise KafkaUnavailableError(
                f"topic {topic!r} has {found} partitions, transactions have {partitions}: "
                "add partitions to it"
            )
        cleanup = _cleanup_policy(admin, topic, settings.kafka.connect_timeout_s)
        if cleanup is not None and ("compact" in cleanup) != (policy.cleanup == "compact"):
            raise KafkaUnavailableError(
                f"topic {topic!r} has cleanup.policy={cleanup}, it must be {policy.cleanup}"
            )


def _cleanup_policy(admin: AdminClient, topic: str, timeout_s: float) -> str | None:
    """The topic's policy; None where the broker does not tell."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    (future,) = admin.describe_configs([resource], request_timeout=timeout_s).values()
    try:
        return str(future.result(timeout=timeout_s + 5)["cleanup.policy"].value)
    except KafkaException as error:
        # Not told by the embedded broker, nor to a user without DescribeConfigs.
        log.debug("topic policy not checked", topic=topic, reason=error.args[0].str())
        return None


def _short(settings: Settings, topic: str) -> str:
    return topic.removeprefix(f"{settings.application_id}.")
