"""The producing side: what a poll led to, in one Kafka transaction with the offsets consumed.

With `delivery = "at_least_once"` there are no transactions: records are flushed, then the offsets
are committed; a crash in between has the records since the last commit made a second time.

Source: KIP-98 (transactions), KIP-447 (offsets under the group's metadata).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from consumer import failpoints
from consumer.errors import (
    AbortedError,
    FencedError,
    KafkaUnavailableError,
    RebalancedError,
)
from consumer.kafka import client
from consumer.kafka.bounded import Bounded, Call, Unanswered, nothing
from consumer.settings import Settings

# Kafka's default for a transaction's life on the broker, and ours for what comes before the first.
TRANSACTION_TIMEOUT_S = 60
# Sending the offsets takes milliseconds, and hangs where their coordinator goes away meanwhile. The
# group gives up on who is silent for ten seconds: later than that they would be refused anyway.
OFFSETS_S = 15
ABORT_S = 5
# librdkafka's default is 1 MB, and so is Kafka's for a topic; the registry's may be raised.
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
_FENCED = {
    KafkaError._FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.PRODUCER_FENCED,
}
# The group met while we committed; the consumer is told with its next poll.
_REBALANCED = {KafkaError.ILLEGAL_GENERATION, KafkaError.REBALANCE_IN_PROGRESS}


class Sink:
    """One transactional producer; after an `AbortedError` of a commit only to be closed."""

    def __init__(self, settings: Settings) -> None:
        """Connect, and fence off any process with our transactional id.

        Raises: KafkaUnavailableError where the broker does not answer.
        """
        self._id = settings.transactional_id
        self._transactional = settings.delivery == "exactly_once"
        own: dict[str, Any] = {
            "linger.ms": 5,
            "compression.type": "lz4",
            "message.max.bytes": MAX_MESSAGE_BYTES,
        }
        if self._transactional:
            own["transactional.id"] = self._id
            own["transaction.timeout.ms"] = TRANSACTION_TIMEOUT_S * 1000
        else:
            own["delivery.report.only.error"] = True  # a report a record would cost half as much
            own["on_delivery"] = self._not_delivered
        self._producer = client.producer(settings.kafka, own)
        self._bounded = Bounded()
        self._begun_at: float | None = None
        self._failed: KafkaError | None = None
        if self._transactional:
            try:
                begin = partial(self._call, self._producer.init_transactions, 30.0)
                self._await((2 * TRANSACTION_TIMEOUT_S, begin))
            except BaseException:
                self._bounded.close()
                raise

    @property
    def open_for_s(self) -> float:
        """Seconds since the transaction began; 0 where there is none."""
        return 0.0 if self._begun_at is None else time.monotonic() - self._begun_at

    @property
    def is_open(self) -> bool:
        """Is a transaction begun?"""
        return self._begun_at is not None

    def begin(self) -> None:
        """Begin a transaction, unless there is one."""
        if self._begun_at is None:
            if self._transactional:
                self._call(self._producer.begin_transaction)
            self._begun_at = time.monotonic()

    def produce(
        self,
        topic: str,
        key: str | bytes | None,
        value: bytes | None,
        *,
        partition: int = -1,
        headers: Sequence[tuple[str, bytes | None]] | None = None,
    ) -> None:
        """Add a record; waits where librdkafka's queue is full."""
        while True:
            try:
                self._producer.produce(
                    topic,
                    key=key,
                    value=value,
                    partition=partition,
                    headers=list(headers) if headers else None,
                )
            except BufferError:
                self._producer.poll(0.05)
            except KafkaException as error:
                if error.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE:
                    raise KafkaUnavailableError(
                        f"a record of {len(value or b''):,} bytes for {topic!r} is larger than "
                        f"{MAX_MESSAGE_BYTES:,}; nothing of the open transaction is visible"
                    ) from error
                raise self._failure(error) from error
            else:
                return

    def produce_all(
        self, topic: str, records: Iterable[tuple[str | bytes, bytes | None]], partition: int
    ) -> None:
        """Add records without headers, as `produce` does one."""
        produce = self._producer.produce
        for key, value in records:
            try:
                produce(topic, value, key, partition)
            except (BufferError, KafkaException):
                self.produce(topic, key, value, partition=partition)

    def commit(
        self,
        offsets: list[TopicPartition],
        group: Any,
        meanwhile: Callable[[], None] = nothing,
    ) -> None:
        """Commit the records with the offsets consumed under the group's metadata.

        `meanwhile` is called while the broker writes: it may not produce.

        Raises: FencedError where another process took over; AbortedError where it is not known to
        be committed: either all of it is visible then, as soon as there is a new Sink, or nothing.
        """
        self.begin()
        calls: list[Call] = []
        if offsets:
            send = self._producer.send_offsets_to_transaction
            calls.append((OFFSETS_S, partial(self._call, send, offsets, group, OFFSETS_S)))
        calls.append((TRANSACTION_TIMEOUT_S, self._close))
        self._await(*calls, meanwhile=meanwhile)
        self._begun_at = None

    def _close(self) -> None:
        failpoints.reach("offsets")
        failpoints.reach("committing", within_s=0.002)
        self._call(self._producer.commit_transaction, TRANSACTION_TIMEOUT_S)

    def flush(self, meanwhile: Callable[[], None] = nothing) -> None:
        """Without transactions: wait until the broker has every record; `meanwhile` is called.

        Raises: AbortedError where it does not take one.
        """
        patience = TRANSACTION_TIMEOUT_S
        flush = partial(self._producer.flush, patience)
        left = self._await((2 * patience, flush), meanwhile=meanwhile)
        if left or self._failed:
            why = self._failed.str() if self._failed else f"{left} still under way"
            raise AbortedError(
                f"records were not taken by the broker: {why}. Start again to go on from the "
                "committed offsets"
            )
        self._begun_at = None

    def abort(self) -> None:
        """Abort what is not committed; a new transaction may begin then.

        Raises: FencedError where another process took over.
        """
        if self._begun_at is not None:
            self._begun_at = None
            if self._transactional:
                try:
                    self._await((2 * ABORT_S, partial(self._producer.abort_transaction, ABORT_S)))
                except KafkaException as error:
                    failure = self._failure(error)
                    if isinstance(failure, FencedError):
                        raise failure from error
                except AbortedError:
                    return  # the broker aborts it when it times out, or when there is a new Sink

    def close(self) -> None:
        """Abort what is not committed, and let go.

        Raises: FencedError where another process took over.
        """
        try:
            self.abort()
        finally:
            self._bounded.close()

    def check(self, topic: str) -> None:
        """Ask the broker whether another process took over, by a record that is aborted.

        Without transactions: does nothing.

        Raises: FencedError where one did.
        """
        if self._transactional:
            with suppress(AbortedError):  # no answer does not say so
                self.begin()
                self.produce(topic, None, None)
                self._await((2 * ABORT_S, partial(self._producer.flush, ABORT_S)))
            self.abort()

    def _await(self, *calls: Call, meanwhile: Callable[[], None] = nothing) -> Any:
        """Call on the thread for calls that may never come back."""
        try:
            return self._bounded(*calls, meanwhile=meanwhile)
        except Unanswered as error:
            self._begun_at = None  # there is nothing that this producer can still be asked
            raise AbortedError(
                f"the broker gave {error} (does it start again?). Nothing uncommitted is visible; "
                "start again to go on from the committed offsets"
            ) from error

    def _call(self, function: Any, *arguments: Any) -> None:
        """Call, and call again while the error is one that passes."""
        deadline = time.monotonic() + TRANSACTION_TIMEOUT_S
        while True:
            try:
                function(*arguments)
            except KafkaException as error:
                found: KafkaError = error.args[0]
                if found.retriable() and time.monotonic() < deadline:
                    time.sleep(0.1)
                    continue
                raise self._failure(error) from error
            else:
                return

    def _failure(self, error: KafkaException) -> FencedError | AbortedError:
        """Fenced, or to be done again: the two ends of a transaction that fails."""
        found = self._reason(error.args[0])
        if found.code() in _FENCED:
            self._begun_at = None
            return FencedError(
                f"another process runs with transactional id {self._id!r} and has taken over; "
                "give each process its own --instance-id"
            )
        rebalanced = found.code() in _REBALANCED
        return (RebalancedError if rebalanced else AbortedError)(
            f"the transaction was aborted: {found.str()}. Nothing of it is visible; "
            "start again to go on from the committed offsets"
        )

    def _not_delivered(self, error: KafkaError | None, _: object) -> None:
        self._failed = error or self._failed

    def _reason(self, found: KafkaError) -> KafkaError:
        """Behind "fatal error" stands the one that made it so: the next transaction call tells."""
        if found.code() == KafkaError._FATAL:
            try:
                self._producer.commit_transaction(1)
            except KafkaException as error:
                return error.args[0]  # type: ignore[no-any-return]
        return found
