"""The topics: the two inputs are another team's, the others are ours to create and to check."""

from __future__ import annotations

import time
from typing import NamedTuple

import structlog
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewTopic

from consumer.errors import KafkaUnavailableError
from consumer.kafka import client
from consumer.kafka.sink import MAX_MESSAGE_BYTES
from consumer.sections import Kafka
from consumer.settings import DAY_MS, Settings

log = structlog.get_logger()


# Kafka's default for a record batch, and what a manifest, the other snapshot of a heal's pair and
# the framing of a batch may take of it.
KAFKA_MAX_BYTES = 1_048_588
SNAPSHOT_ROOM = 16_384


class Policy(NamedTuple):
    """What one of our topics must be."""

    cleanup: str  # cleanup.policy, its words in order
    follows_transactions: bool  # as many partitions as the transactions topic, else one


OURS = {
    "scores": Policy("delete", follows_transactions=True),
    "labelled": Policy("delete", follows_transactions=True),
    "dead-letters": Policy("delete", follows_transactions=True),
    "events": Policy("delete", follows_transactions=False),
    "commands": Policy("delete", follows_transactions=False),
    "registry": Policy("compact", follows_transactions=False),
    "checkpoints": Policy("compact", follows_transactions=True),
    # A row is needed for as long as a label may join it; older ones the broker may delete.
    "pending": Policy("compact,delete", follows_transactions=True),
}


class Found(NamedTuple):
    """What a process must know of its topics."""

    partitions: int  # of the transactions topic, and of those of ours that follow it
    max_snapshot_bytes: int  # that the registry topic takes


def ensure(settings: Settings) -> Found:
    """Check the inputs, create what is missing of ours, check what is there.

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
    create(
        admin,
        settings.kafka,
        [
            NewTopic(
                settings.topic(name),
                num_partitions=partitions if policy.follows_transactions else 1,
                replication_factor=-1,  # the broker's own default (KIP-464)
                config=_config(settings, name),
            )
            for name, policy in OURS.items()
        ],
    )
    configs = _configs(admin, settings)
    _check(admin, settings, partitions, configs)
    most = configs.get(settings.topic("registry"), {}).get("max.message.bytes", KAFKA_MAX_BYTES)
    return Found(partitions, min(int(most), MAX_MESSAGE_BYTES) - SNAPSHOT_ROOM)


def written(settings: Settings, name: str) -> str:
    """One of our topics, for a command that only reads.

    Raises: KafkaUnavailableError where it is missing: this application has not consumed yet.
    """
    kafka, topic = settings.kafka, settings.topic(name)
    if topic not in client.connect(client.admin(kafka), kafka).topics:
        raise KafkaUnavailableError(
            f"topic {topic!r} does not exist at {kafka.bootstrap_servers}: nothing was consumed "
            f"as {settings.application_id!r} yet. Start `python -m consumer run`, or name another "
            "application with --application-id."
        )
    return topic


def _config(settings: Settings, name: str) -> dict[str, str]:
    config = {"cleanup.policy": OURS[name].cleanup}
    if name == "registry":
        config["max.message.bytes"] = str(MAX_MESSAGE_BYTES)
    if name in ("pending", "labelled"):
        # A row is known for an eighth longer than the horizon; a day covers clocks that differ. So
        # long a restart finds the labelled rows that experts remember, too: Kafka keeps a week.
        config["retention.ms"] = str(round((settings.join.horizon_days * 9 / 8 + 1) * DAY_MS))
    return config


def create(admin: AdminClient, kafka: Kafka, wanted: list[NewTopic]) -> None:
    """Make those topics that are missing, and wait until they are there.

    Raises: KafkaUnavailableError where one cannot be made.
    """
    cluster = client.connect(admin, kafka)
    missing = [topic for topic in wanted if topic.topic not in cluster.topics]
    if missing and client.knows_topics(cluster):
        timeout_s = kafka.connect_timeout_s
        made = admin.create_topics(missing, operation_timeout=timeout_s, request_timeout=timeout_s)
        for name, done in made.items():
            try:
                done.result()
            except KafkaException as error:
                found: KafkaError = error.args[0]
                if found.code() == KafkaError.TOPIC_ALREADY_EXISTS:
                    continue  # somebody else's, between our two requests
                raise KafkaUnavailableError(
                    f"topic {name!r} cannot be created: {found.str()}. "
                    "Create it beforehand, or allow us to."
                ) from error
    deadline = time.monotonic() + kafka.connect_timeout_s
    for topic in missing:
        while True:
            try:
                client.partitions_of(admin, kafka, topic.topic)
                break
            except KafkaUnavailableError:
                # A topic just made takes a moment to reach every broker's metadata.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)


def _check(
    admin: AdminClient, settings: Settings, partitions: int, configs: dict[str, dict[str, str]]
) -> None:
    for name, policy in OURS.items():
        topic = settings.topic(name)
        found = client.partitions_of(admin, settings.kafka, topic)
        if policy.follows_transactions and found < partitions:
            raise KafkaUnavailableError(
                f"topic {topic!r} has {found} partitions, transactions have {partitions}: "
                "add partitions to it"
            )
        cleanup = configs.get(topic, {}).get("cleanup.policy", policy.cleanup)
        if {word.strip() for word in cleanup.split(",")} != set(policy.cleanup.split(",")):
            raise KafkaUnavailableError(
                f"topic {topic!r} has cleanup.policy={cleanup}, it must be {policy.cleanup}"
            )


def _configs(admin: AdminClient, settings: Settings) -> dict[str, dict[str, str]]:
    """Of our topics by name, of those that the broker tells."""
    kafka = settings.kafka
    if not client.knows_topics(client.connect(admin, kafka)):
        return {}
    timeout_s = kafka.connect_timeout_s
    resources = [ConfigResource(ResourceType.TOPIC, settings.topic(name)) for name in OURS]
    told = {}
    for resource, future in admin.describe_configs(resources, request_timeout=timeout_s).items():
        try:
            told[resource.name] = {n: str(entry.value) for n, entry in future.result().items()}
        except KafkaException as error:
            # A user without DescribeConfigs is not told; the topic may be right all the same.
            log.warning("topic policy not checked", topic=resource.name, reason=error.args[0].str())
    return told
