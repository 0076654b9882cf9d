"""The producing side: what a poll led to, in one Kafka transaction with the offsets consumed.

Source: KIP-98 (transactions), KIP-447 (offsets under the group's metadata).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from consumer.errors import FencedError, KafkaUnavailableError
from consumer.kafka import client
from consumer.settings import Settings

# Kafka's default for a transaction's life on the broker, and ours for one commit to go through.
TRANSACTION_TIMEOUT_S = 60
_FENCED = {
    KafkaError._FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.PRODUCER_FENCED,
}


class Sink:
    """One transactional producer."""

    def __init__(self, settings: Settings) -> None:
        """Connect, and fence off any process with our transactional id.

        Raises: KafkaUnavailableError where the broker does not answer.
        """
        self._id = settings.transactional_id
        self._producer = client.producer(
            settings.kafka,
            {
                "transactional.id": self._id,
                "transaction.timeout.ms": TRANSACTION_TIMEOUT_S * 1000,
                "linger.ms": 5,
                "compression.type": "lz4",
            },
        )
        self._begun_at: float | None = None
        self._call(self._producer.init_transactions, 30.0)

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
                raise self._aborted(error) from error
            else:
                return

    def commit(self, offsets: list[TopicPartition], group: Any) -> None:
        """Commit the records with the offsets consumed under the group's metadata.

        Raises: FencedError where another process took over; KafkaUnavailableError where the
        transaction had to be aborted: nothing of it is visible then.
        """
        self.begin()
        if offsets:
            self._call(
                self._producer.send_offsets_to_transaction, offsets, group, TRANSACTION_TIMEOUT_S
            )
        self._call(self._producer.commit_transaction, TRANSACTION_TIMEOUT_S)
        self._begun_at = None

    def close(self) -> None:
        """Abort what is not committed."""
        if self._begun_at is not None:
            self._begun_at = None
            try:
                self._producer.abort_transaction(5)
            except KafkaException:
                return  # the broker aborts it when it times out

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
                raise self._aborted(error) from error
            else:
                return

    def _aborted(self, error: KafkaException) -> Exception:
        found = self._reason(error.args[0])
        if found.code() in _FENCED:
            self._begun_at = None
            return FencedError(
                f"another process runs with transactional id {self._id!r} and has taken over; "
                "give each process its own --instance-id"
            )
        self.close()
        return KafkaUnavailableError(
            f"the transaction was aborted: {found.str()}. Nothing of it is visible; "
            "start again to go on from the committed offsets"
        )

    def _reason(self, found: KafkaError) -> KafkaError:
        """Behind "fatal error" stands the one that made it so: the next transaction call tells."""
        if found.code() == KafkaError._FATAL:
            try:
                self._producer.commit_transaction(1)
            except KafkaException as error:
                return error.args[0]  # type: ignore[no-any-return]
        return found
