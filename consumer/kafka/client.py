"""Building clients: one set of connection settings, errors that name the way out."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._metadata import ClusterMetadata

from consumer.errors import KafkaUnavailableError
from consumer.sections import Kafka

log = structlog.get_logger()

# Java's default partitioner; librdkafka's own (consistent_random) would send the same key to
# another partition, and a label would not meet its transaction.
PARTITIONER = "murmur2_random"

# Another broker keeps the group now, or soon: asked again a moment later, it answers.
COORDINATOR_MOVES = {
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
}
RETRY_S = 0.1

_silent_until = 0.0  # monotonic seconds

Client = AdminClient | Consumer | Producer
_T = TypeVar("_T", AdminClient, Consumer, Producer)


def properties(kafka: Kafka, own: dict[str, Any]) -> dict[str, Any]:
    """librdkafka's settings for one client: `own`, under what the user passed through.

    Source: https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md
    """
    return {
        "bootstrap.servers": kafka.bootstrap_servers,
        "error_cb": _logged,
        # librdkafka would write to standard error by itself; what matters reaches the caller.
        "log_level": 0,
        **own,
        **kafka.properties,
    }


def build(make: Callable[[dict[str, Any]], _T], config: dict[str, Any]) -> _T:
    """Make a client.

    Raises: KafkaUnavailableError where librdkafka refuses a setting.
    """
    try:
        return make(config)
    except (KafkaException, ValueError, TypeError) as error:
        raise KafkaUnavailableError(
            f"a Kafka setting is refused: {_text(error)}. See [kafka.properties] in your settings."
        ) from error


def admin(kafka: Kafka) -> AdminClient:
    """An admin client."""
    return build(AdminClient, properties(kafka, {}))


def producer(kafka: Kafka, own: dict[str, Any] | None = None) -> Producer:
    """A producer whose keys land where Java's producers would put them.

    Idempotent (KIP-98): what a partition gets comes in the order it was produced in and once, also
    where a send is repeated, as the first ones to a topic made a moment ago are.
    """
    always = {"partitioner": PARTITIONER, "enable.idempotence": True}
    return build(Producer, properties(kafka, always | (own or {})))


def connect(client: Client, kafka: Kafka, topic: str | None = None) -> ClusterMetadata:
    """Metadata of the cluster (or of one topic), waiting up to `kafka.connect_timeout_s`.

    Raises: KafkaUnavailableError when no broker answers.
    """
    deadline = time.monotonic() + kafka.connect_timeout_s
    while True:
        left = deadline - time.monotonic()
        try:
            return (
                client.list_topics(timeout=max(0.1, min(left, 5.0)))
                if topic is None
                else client.list_topics(topic, timeout=max(0.1, min(left, 5.0)))
            )
        except KafkaException as error:
            if left <= 0:
                raise KafkaUnavailableError(
                    f"no Kafka broker answers at {kafka.bootstrap_servers} "
                    f"({_text(error)}). Start one, or name it with --bootstrap-servers."
                ) from error


def knows_topics(cluster: ClusterMetadata) -> bool:
    """Does the broker answer CreateTopics and DescribeConfigs?

    librdkafka's mock broker does not: it makes a topic when it is first asked for it. It is known
    by the controller it names, which is none of its brokers.
    """
    return cluster.controller_id in cluster.brokers


def partitions_of(client: Client, kafka: Kafka, topic: str) -> int:
    """Number of partitions of an existing topic.

    Raises: KafkaUnavailableError when it does not exist.
    """
    cluster = connect(client, kafka)
    if not knows_topics(cluster):
        # Anywhere else a topic that is named, and missing, would be made where brokers allow it.
        cluster = connect(client, kafka, topic)
    found = cluster.topics.get(topic)
    if found is None or found.error is not None or not found.partitions:
        why = "" if found is None or found.error is None else f" ({found.error.str()})"
        raise KafkaUnavailableError(
            f"topic {topic!r} does not exist at {kafka.bootstrap_servers}{why}. "
            "Create it, or name another in the settings."
        )
    return len(found.partitions)


def _text(error: Exception) -> str:
    cause = error.args[0] if error.args else error
    return cause.str() if isinstance(cause, KafkaError) else str(cause)


def _logged(error: KafkaError) -> None:
    # Transport errors are retried by librdkafka; those that are fatal also reach the caller. That
    # no broker is left is what a person must hear, from however many clients, every ten seconds.
    global _silent_until
    if error.code() == KafkaError._ALL_BROKERS_DOWN and time.monotonic() >= _silent_until:
        _silent_until = time.monotonic() + 10
        log.warning("no Kafka broker answers; trying on", reason=error.str())
    else:
        log.debug("kafka", code=error.name(), reason=error.str())
