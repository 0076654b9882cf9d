"""Reading a whole topic once, from its beginning to where it ends now."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from consumer.errors import KafkaUnavailableError
from consumer.kafka import client
from consumer.kafka.record import Record, record
from consumer.settings import Kafka

# One call hands over at most so many records: at 1 kB each a megabyte, and the cost of crossing
# into librdkafka is shared by all of them.
_RECORDS_A_CALL = 1_000
_POLL_S = 0.1
_RETRY_S = 0.1


def read_all(kafka: Kafka, topic: str) -> Iterator[Record]:
    """Every committed record of a topic, up to the end offsets at the time of this call.

    Partitions come interleaved, each in offset order. Nothing is committed and no group is joined.

    Raises: KafkaUnavailableError where the topic does not exist (at once), or the broker falls
    silent for `kafka.connect_timeout_s` (while reading).
    """
    # A group of one, never joined or committed to: assign() asks for a name all the same.
    reader = client.build(
        Consumer,
        client.properties(
            kafka,
            {
                "group.id": f"reflexive-reader-{uuid.uuid4().hex}",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                # The marker that ends a transaction takes an offset and is never handed over: a
                # position may stay below the end for ever, so the end is an event, not a number.
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
            },
        ),
    )
    try:
        ends = _ends(reader, kafka, topic)
    except BaseException:
        reader.close()
        raise
    return _records(reader, kafka, topic, ends)


def _ends(reader: Consumer, kafka: Kafka, topic: str) -> dict[int, int]:
    """End offset of every partition that holds anything."""
    ends = {}
    for partition in range(client.partitions_of(reader, kafka, topic)):
        low, high = _watermarks(reader, kafka, TopicPartition(topic, partition))
        if low < high:
            ends[partition] = high
    return ends


def _watermarks(reader: Consumer, kafka: Kafka, place: TopicPartition) -> tuple[int, int]:
    # A topic made a moment ago, or a broker just back, has partitions that no leader answers for.
    deadline = time.monotonic() + kafka.connect_timeout_s
    while True:
        left = deadline - time.monotonic()
        try:
            found = reader.get_watermark_offsets(place, timeout=max(0.1, left))
        except KafkaException as error:
            if left > 0:
                time.sleep(_RETRY_S)
                continue
            raise KafkaUnavailableError(
                f"{place.topic}[{place.partition}] at {kafka.bootstrap_servers}: its end cannot "
                f"be read ({error.args[0].str()}). Is the partition's leader up?"
            ) from error
        if found is not None:
            return found
        if left <= 0:
            raise KafkaUnavailableError(
                f"{place.topic}[{place.partition}] at {kafka.bootstrap_servers}: no end offset "
                f"within {kafka.connect_timeout_s:g} s. Is the partition's leader up?"
            )


def _records(reader: Consumer, kafka: Kafka, topic: str, ends: dict[int, int]) -> Iterator[Record]:
    try:
        reader.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in ends])
        open_partitions = set(ends)
        silent_s = 0.0  # counted here and not by the clock: the caller may take its time
        while open_partitions:
            messages = reader.consume(_RECORDS_A_CALL, timeout=_POLL_S)
            silent_s = 0.0 if messages else silent_s + _POLL_S
            if silent_s > kafka.connect_timeout_s:
                raise KafkaUnavailableError(
                    f"{topic} at {kafka.bootstrap_servers}: nothing came for "
                    f"{kafka.connect_timeout_s:g} s. Is the broker up?"
                )
            for message in messages:
                partition = message.partition()
                error = message.error()
                if error is not None:
                    _refuse(error, topic, partition, kafka)
                    open_partitions.discard(partition)
                    continue
                if partition not in open_partitions:
                    continue  # written after the call
                found = record(message)
                if found.offset < ends[partition]:
                    yield found
                if found.offset >= ends[partition] - 1:
                    open_partitions.discard(partition)
                    reader.pause([TopicPartition(topic, partition)])
    finally:
        reader.close()


def _refuse(error: KafkaError, topic: str, partition: int | None, kafka: Kafka) -> None:
    if error.code() != KafkaError._PARTITION_EOF:
        raise KafkaUnavailableError(
            f"{topic}[{partition}] at {kafka.bootstrap_servers}: {error.str()}"
        )
