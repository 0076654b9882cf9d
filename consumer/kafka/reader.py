"""Reading without a group: a whole topic once, what a restart needs, and what others add later."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from consumer.errors import DataError, KafkaUnavailableError
from consumer.kafka import client
from consumer.kafka.record import Record, record
from consumer.sections import Kafka

# One call hands over at most so many records: at 1 kB each a megabyte, and the cost of crossing
# into librdkafka is shared by all of them.
_RECORDS_A_CALL = 1_000
_POLL_S = 0.1
# Until a transaction of a process that died is ended: its own time-out (60 s), and the broker looks
# every 10 s (transaction.abort.timed.out.transaction.cleanup.interval.ms).
PATIENCE_S = 90.0
# The end of a topic is told by a fetch that finds nothing, which the broker holds back for half a
# second by default; and where 64 MB are read ahead of us, the next fetch waits for a whole one.
# Who reads to the end and goes does not want to wait; who stays would ask a hundred times a second.
_IN_A_HURRY = {"fetch.wait.max.ms": 10, "fetch.queue.backoff.ms": 10}


def read_all(kafka: Kafka, topic: str) -> Iterator[Record]:
    """Every committed record of a topic, up to the end offsets at the time of this call.

    Partitions come interleaved, each in offset order. Nothing is committed and no group is joined.

    Raises: KafkaUnavailableError where the topic does not exist (at once), or the broker falls
    silent for `kafka.connect_timeout_s` (while reading).
    """
    reader = _reader(kafka, _IN_A_HURRY)
    try:
        ends = _ends(reader, kafka, topic)
    except BaseException:
        reader.close()
        raise
    return _records(reader, kafka, topic, ends)


def read_objects(kafka: Kafka, topic: str) -> Iterator[dict[str, Any]]:
    """The values of `read_all`, tombstones apart, each an object of ours.

    Raises: DataError, naming the record, where one is not JSON; as `read_all` does.
    """
    for found in read_all(kafka, topic):
        if found.value is None:
            continue
        try:
            yield orjson.loads(found.value)
        except orjson.JSONDecodeError as error:
            raise DataError(
                f"{found.topic}[{found.partition}] offset {found.offset} is not JSON ({error}). "
                "Only the consumer may write to this topic."
            ) from error


def ends(kafka: Kafka, topics: Iterable[str]) -> dict[tuple[str, int], int]:
    """End offset of every partition that holds anything, up to its first open transaction.

    Raises: KafkaUnavailableError where a topic does not exist, or the broker does not answer.
    """
    reader = _reader(kafka)
    try:
        return {(t, n): end for t in topics for n, end in _ends(reader, kafka, t).items()}
    finally:
        reader.close()


def _uncommitted(kafka: Kafka) -> Consumer:
    """Asked for an end offset it tells the true one: others that of the last closed transaction."""
    own = {"group.id": f"reflexive-ends-{uuid.uuid4().hex}", "isolation.level": "read_uncommitted"}
    return client.build(Consumer, client.properties(kafka, own))


def _reader(kafka: Kafka, more: Mapping[str, int] | None = None) -> Consumer:
    # A group of one, never joined or committed to: assign() asks for a name all the same.
    return client.build(
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
                **(more or {}),
            },
        ),
    )


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
                time.sleep(client.RETRY_S)
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


class Reader:
    """Reads single partitions to their true end, for a restart that must miss nothing.

    The true end lies behind transactions that are still open: those of a process that died are,
    until it starts again or the broker ends them. They are waited for, and seen if they count.
    """

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._reader = _reader(kafka, _IN_A_HURRY)
        self._ends = _uncommitted(kafka)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()
        self._ends.close()

    def end(self, topic: str, partition: int) -> int:
        """The true end offset."""
        return _watermarks(self._ends, self._kafka, TopicPartition(topic, partition))[1]

    def cluster_id(self) -> str:
        """Which cluster this is; empty where it does not say."""
        return client.connect(self._ends, self._kafka).cluster_id or ""

    def chunks(
        self, topic: str, partition: int, start: int = 0, most: int = _RECORDS_A_CALL
    ) -> Iterator[list[Message]]:
        """All committed records from offset `start` on, at most `most` at a time.

        Raises: KafkaUnavailableError where nothing more comes for `PATIENCE_S`.
        """
        low, end = _watermarks(self._ends, self._kafka, TopicPartition(topic, partition))
        start = max(start, low)
        if start >= end:
            return
        self._reader.assign([TopicPartition(topic, partition, start)])
        silent_since = time.monotonic()
        reached = start
        try:
            while reached < end:
                messages = self._reader.consume(most, timeout=_POLL_S)
                now = time.monotonic()
                silent_since = now if messages else silent_since
                if now - silent_since > PATIENCE_S:
                    raise KafkaUnavailableError(
                        f"{topic}[{partition}] at {self._kafka.bootstrap_servers}: nothing came "
                        f"for {PATIENCE_S:g} s, {end} is its end. Is the broker up, or does a "
                        "transaction of another process stay open?"
                    )
                good = []
                for message in messages:
                    error = message.error()
                    offset = message.offset()
                    assert offset is not None
                    if error is None:
                        good.append(message)
                        reached = offset + 1
                    else:
                        # An end tells how far it is: behind markers and aborted records.
                        _refuse(error, topic, partition, self._kafka)
                        reached = offset
                if good:
                    yield good
        finally:
            self._reader.unassign()

    def last(self, topic: str, partition: int, count: int) -> list[Message]:
        """The last `count` committed records, or as many as there are."""
        low, end = _watermarks(self._ends, self._kafka, TopicPartition(topic, partition))
        back = 2 * count + 16  # a transaction's marker takes an offset too
        while True:
            start = max(low, end - back)
            found = [m for chunk in self.chunks(topic, partition, start) for m in chunk]
            if len(found) >= count or start == low:
                return found[-count:] if count else []
            back *= 4


class Follower:
    """Reads partition 0 of a topic from an offset on, and then whatever is added to it."""

    def __init__(self, kafka: Kafka, topic: str, start: int = OFFSET_BEGINNING) -> None:
        self._kafka = kafka
        self._topic = topic
        self._reader = _reader(kafka)
        self._ends = _uncommitted(kafka)
        self._reader.assign([TopicPartition(topic, 0, start)])
        self._at = 0  # offset up to which everything was handed over

    def added(self) -> list[Record]:
        """What has come since, without waiting."""
        return self._take(0.0)

    def catch_up(self) -> list[Record]:
        """Everything up to the true end, transactions that are still open included.

        Raises: KafkaUnavailableError where nothing more comes for `PATIENCE_S`.
        """
        _, end = _watermarks(self._ends, self._kafka, TopicPartition(self._topic, 0))
        found: list[Record] = []
        deadline = time.monotonic() + PATIENCE_S
        while self._at < end:
            more = self._take(_POLL_S)
            found += more
            if more:
                deadline = time.monotonic() + PATIENCE_S
            elif time.monotonic() > deadline:
                raise KafkaUnavailableError(
                    f"{self._topic} at {self._kafka.bootstrap_servers}: nothing came for "
                    f"{PATIENCE_S} s. Is the broker up?"
                )
        return found

    def close(self) -> None:
        """Let go of the topic."""
        self._reader.close()
        self._ends.close()

    def _take(self, timeout_s: float) -> list[Record]:
        found = []
        for message in self._reader.consume(_RECORDS_A_CALL, timeout=timeout_s):
            error = message.error()
            if error is None:
                found.append(record(message))
                self._at = found[-1].offset + 1
            else:
                _refuse(error, self._topic, 0, self._kafka)
                self._at = max(self._at, message.offset() or 0)
        return found


def _refuse(error: KafkaError, topic: str, partition: int | None, kafka: Kafka) -> None:
    if error.code() != KafkaError._PARTITION_EOF:
        raise KafkaUnavailableError(
            f"{topic}[{partition}] at {kafka.bootstrap_servers}: {error.str()}"
        )
