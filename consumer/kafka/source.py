"""The consuming side: transactions by group assignment, the same-numbered labels beside them.

Only the transactions are subscribed to; labels partitions come and go with them.
(Cooperative-sticky over both topics would not keep the numbers together.)
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import groupby
from typing import Protocol

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from consumer.errors import AbortedError, EvictedError, KafkaUnavailableError
from consumer.kafka import client
from consumer.kafka.bounded import Bounded, Unanswered
from consumer.kafka.reader import PATIENCE_S
from consumer.kafka.record import Run
from consumer.profile import Stage, off
from consumer.settings import Settings

# One hand-over from librdkafka: at 200 bytes a record 1 MB, and 0.2 us a record to cross.
POLL_RECORDS = 5_000
# A hand-over costs the stages some 2 ms, be it one record or hundreds: one for each few records
# would keep a processor busy at two thousand a second. Nobody reads a score before its commit, so
# where few are there a quarter of the time to the next one is waited for more; without
# transactions a score can be read at once, and half the producer's linger is.
FEW_RECORDS = 500
GATHER_SHARE, GATHER_AT_ONCE_S = 0.25, 0.0025
# Signals, orders and finished heals wait as long.
GATHER_MOST_S = 0.1
# Heartbeats are librdkafka's own thread's, whatever ours does: ten seconds without one is a process
# that is gone, not one that is busy.
SESSION_MS = 10_000
# Closing takes milliseconds, and as long as the last commit may. Who begins anew has no use for
# what it may wait for.
CLOSE_S, ABANDON_S = 120.0, 5.0
_NO_MEMBER = {
    KafkaError.FENCED_INSTANCE_ID,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.ILLEGAL_GENERATION,
}


class Rebalance(Protocol):
    """What follows the group's decisions; called while the loop polls, or waits to have left."""

    def assigned(
        self, partitions: Sequence[int], committed: dict[tuple[str, int], int]
    ) -> dict[tuple[str, int], int]:
        """These partitions are ours from now on; returns the offsets to begin with.

        Where an offset is absent, from both: the beginning.
        """

    def revoked(self, partitions: Sequence[int]) -> None:
        """They are not any more; what was processed may still be committed."""


@dataclass(slots=True)
class Polled:
    """Records of one poll by (topic, partition), and the partitions read to their end."""

    records: dict[tuple[str, int], Run] = field(default_factory=dict)
    ends: list[tuple[str, int]] = field(default_factory=list)


class Source:
    """One consumer of the group."""

    def __init__(
        self,
        settings: Settings,
        rebalance: Rebalance,
        ends: Mapping[tuple[str, int], int] | None = None,
        stage: Stage = off,
    ) -> None:
        """`ends`: offsets by place to stop at (absent: 0); None to go on for ever."""
        self._stage = stage
        self._transactions = settings.input.transactions.topic
        self._labels = settings.input.labels.topic
        self._instance = settings.transactional_id
        self._rebalance = rebalance
        self._paused: set[tuple[str, int]] = set()
        self._ends = ends
        self._gather_s = GATHER_AT_ONCE_S
        if settings.delivery == "exactly_once":
            self._gather_s = min(GATHER_MOST_S, GATHER_SHARE * settings.commit.interval_ms / 1000)
        self._done: set[tuple[str, int]] = set()
        self._assigned: set[int] = set()
        self._leaving: Bounded | None = None
        self._abandoned = False
        self._evicted = False
        self._consumer = client.build(
            Consumer,
            client.properties(
                settings.kafka,
                {
                    "group.id": settings.application_id,
                    # Static membership (KIP-345): a process that starts again gets its partitions
                    # back at once; those of one that is gone for good move on after ten seconds.
                    "group.instance.id": settings.transactional_id,
                    "session.timeout.ms": SESSION_MS,
                    "heartbeat.interval.ms": SESSION_MS // 4,
                    "enable.auto.commit": False,
                    "enable.auto.offset.store": False,
                    "auto.offset.reset": "earliest",
                    "isolation.level": "read_committed",
                    "enable.partition.eof": True,
                    "partition.assignment.strategy": "cooperative-sticky",
                    # What librdkafka may hold ahead of us: 16 MiB instead of 64 a partition.
                    "queued.max.messages.kbytes": 16_384,
                    # Of a backlog that is a second's work, and by default the next fetch would
                    # wait for a second.
                    "fetch.queue.backoff.ms": 20,
                },
            ),
        )
        self._consumer.subscribe(
            [self._transactions],
            on_assign=self._on_assign,
            on_revoke=lambda _, given: self._on_revoke(given, lost=False),
            on_lost=lambda _, given: self._on_revoke(given, lost=True),
        )

    @property
    def finished(self) -> bool:
        """With `ends`: is every assigned partition read to there?"""
        return (
            self._ends is not None
            and bool(self._assigned)
            and len(self._done) == 2 * len(self._assigned)
        )

    def poll(
        self, timeout_s: float, to_commit_s: float = 0.0, *, most: int = POLL_RECORDS
    ) -> Polled:
        """Wait up to `timeout_s` for a first record, then take what is there or about to come.

        `to_commit_s`: in so many seconds the next commit is due, and no more is waited for then;
        `most`: records.

        Raises: EvictedError where the group gave us up or takes another process for us;
        KafkaUnavailableError where the broker refuses.
        """
        polled = Polled()
        commits_at = time.monotonic() + to_commit_s
        with self._stage("wait"):
            first = self._consumer.poll(timeout_s)
        if first is not None:
            with self._stage("poll"):
                found = [first, *self._consumer.consume(most, timeout=0)]
            gather_s = min(self._gather_s, commits_at - time.monotonic())
            waits = timeout_s > 0 and gather_s > 0 and self._ends is None
            if waits and len(found) < FEW_RECORDS:
                with self._stage("wait"):
                    found += self._consumer.consume(FEW_RECORDS, timeout=gather_s)
            with self._stage("poll"):
                self._take(polled, found)
        if self._evicted:
            raise EvictedError("the group took our partitions: we were silent too long")
        return polled

    def restart(self) -> None:
        """Read every partition we have from the committed offsets again."""
        numbers = sorted(self._assigned)
        if numbers:
            self._end(numbers)
            self._begin(numbers)

    def pause(self, wanted: Iterable[tuple[str, int]]) -> None:
        """Read on everywhere but in these partitions."""
        wanted = set(wanted)
        if stop := wanted - self._paused:
            self._consumer.pause([TopicPartition(*place) for place in stop])
        if go := self._paused - wanted:
            self._consumer.resume([TopicPartition(*place) for place in go])
        self._paused = wanted

    def is_paused(self, topic: str, partition: int) -> bool:
        """Is reading this partition paused?"""
        return (topic, partition) in self._paused

    @contextmanager
    def all_paused(self) -> Iterator[None]:
        """Poll without getting records, to stay in the group."""
        before = set(self._paused)
        self.pause(self._places(self._assigned))
        try:
            yield
        finally:
            self.pause(place for place in before if place[1] in self._assigned)

    def lag(self, positions: Mapping[tuple[str, int], int]) -> dict[str, int]:
        """Offsets from what was processed to the ends last heard of, by topic; asks no broker."""
        lag = dict.fromkeys((self._transactions, self._labels), 0)
        for (topic, number), at in positions.items():
            place = TopicPartition(topic, number)
            ends = self._consumer.get_watermark_offsets(place, cached=True)
            if ends is not None and ends[1] >= 0:
                lag[topic] += max(0, ends[1] - max(at, ends[0]))
        return lag

    def offsets(self, positions: dict[tuple[str, int], int]) -> list[TopicPartition]:
        """As Kafka's commit wants them."""
        return [TopicPartition(topic, number, at) for (topic, number), at in positions.items()]

    def commit(self, offsets: list[TopicPartition]) -> None:
        """Commit outside a transaction.

        Raises: AbortedError where the group does not take it, EvictedError where not from us.
        """
        if not offsets:
            return  # before the first assignment and after the last; librdkafka calls it an error
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            found: KafkaError = error.args[0]
            # Fenced is fatal to a client: every later call says only that.
            gone = found.fatal() or found.code() in {KafkaError._FATAL, *_NO_MEMBER}
            kind = EvictedError if gone else AbortedError
            raise kind(
                f"offsets cannot be committed: {found.str()}. Start again to go on from the ones "
                "committed last"
            ) from error

    def group(self) -> object:
        """Metadata under which the offsets are committed (KIP-447)."""
        return self._consumer.consumer_group_metadata()

    def close(self) -> None:
        """Leave, until we start again or the group misses us."""
        self._leave(CLOSE_S)

    def abandon(self) -> None:
        """Leave without a word to anybody; waits a moment for a broker that does not answer."""
        self._abandoned = True
        with suppress(KafkaException):
            self._leave(ABANDON_S)

    def _leave(self, within_s: float) -> None:
        self._leaving = Bounded()
        with suppress(Unanswered):
            self._leaving((within_s, self._consumer.close))
        self._leaving.close()

    def _take(self, polled: Polled, messages: Sequence[Message]) -> None:
        runs: dict[tuple[str | None, int | None], list[Message]] = {}
        good = [message for message in messages if message.error() is None]
        if len(good) < len(messages):
            for message in messages:
                if message.error() is not None:
                    self._take_error(polled, message)
        for number, same in groupby(good, Message.partition):
            for topic, some in groupby(same, Message.topic):
                runs.setdefault((topic, number), []).extend(some)
        for (topic, number), run in runs.items():
            assert topic is not None
            assert number is not None
            place = (topic, number)
            end = self._end_of(place)
            if end is not None and (run[-1].offset() or 0) >= end - 1:
                self._finish(place, polled)
                run = [message for message in run if (message.offset() or 0) < end]
            if run:
                polled.records[place] = Run(run)

    def _take_error(self, polled: Polled, message: Message) -> None:
        error = message.error()
        assert error is not None
        if error.code() == KafkaError._PARTITION_EOF:
            topic, number = message.topic(), message.partition()
            assert topic is not None
            assert number is not None
            if self._ends is None:
                polled.ends.append((topic, number))
            else:
                self._finish((topic, number), polled)
            return
        if error.fatal() or error.code() in (KafkaError._FATAL, KafkaError.FENCED_INSTANCE_ID):
            raise EvictedError(
                f"the group takes another process for instance id {self._instance!r}; give each "
                "process its own --instance-id"
            )
        raise KafkaUnavailableError(f"reading {message.topic()}: {error.str()}")

    def _finish(self, place: tuple[str, int], polled: Polled) -> None:
        if place not in self._done and place[1] in self._assigned:
            self._done.add(place)
            polled.ends.append(place)

    def _end_of(self, place: tuple[str, int]) -> int | None:
        return None if self._ends is None else self._ends.get(place, 0)

    def _on_assign(self, consumer: Consumer, given: list[TopicPartition]) -> None:
        numbers = sorted(place.partition for place in given)
        if self._leaving is not None:
            # The group answers that we came. Whoever tells librdkafka so now may wait for ever, all
            # of Python with it: its group is gone, and what is asked of it is dropped (2.16; as in
            # https://github.com/confluentinc/librdkafka/issues/4041).
            self._leaving.give_up()
        if numbers and not self._evicted:
            self._begin(numbers)

    def _begin(self, numbers: list[int]) -> None:
        self._assigned.update(numbers)
        starts = self._rebalance.assigned(numbers, self._committed(numbers))
        self._consumer.incremental_assign(
            [
                TopicPartition(topic, number, starts.get((topic, number), OFFSET_BEGINNING))
                for topic, number in self._places(numbers)
            ]
        )

    def _committed(self, numbers: list[int]) -> dict[tuple[str, int], int]:
        """Offsets by place; waits until an open transaction that holds some has ended.

        Source: KIP-447, https://cwiki.apache.org/confluence/display/KAFKA/KIP-447
        """
        asked = [TopicPartition(*place) for place in self._places(numbers)]
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                found = self._consumer.committed(asked, timeout=5)
                break
            except KafkaException as error:
                # Short waits, so that a signal is heard in between.
                passes = error.args[0].code() in {KafkaError._TIMED_OUT, *client.COORDINATOR_MOVES}
                if not passes or time.monotonic() > deadline:
                    raise KafkaUnavailableError(
                        f"committed offsets cannot be read: {error.args[0].str()}"
                    ) from error
                time.sleep(client.RETRY_S)
        return {
            (place.topic, place.partition): place.offset for place in found if place.offset >= 0
        }

    def _on_revoke(self, given: list[TopicPartition], *, lost: bool) -> None:
        numbers = sorted(place.partition for place in given if place.partition in self._assigned)
        if not numbers or self._abandoned:
            return
        if lost:
            # Another member may have begun to process them: what we hold must never be seen. It is
            # not raised here, because the same poll may call for the next assignment.
            self._evicted = True
            return
        try:
            self._rebalance.revoked(numbers)
        finally:
            self._end(numbers)

    def _end(self, numbers: list[int]) -> None:
        gone = self._places(numbers)
        # Not all of them where an error came in between.
        held = {(place.topic, place.partition) for place in self._consumer.assignment()}
        # Or librdkafka would keep them paused when they come back.
        self.pause(self._paused - held.intersection(gone))
        self._consumer.incremental_unassign([TopicPartition(*p) for p in gone if p in held])
        self._paused.difference_update(gone)
        self._done.difference_update(gone)
        self._assigned.difference_update(numbers)

    def _places(self, numbers: Iterable[int]) -> list[tuple[str, int]]:
        return [(topic, n) for topic in (self._transactions, self._labels) for n in numbers]
