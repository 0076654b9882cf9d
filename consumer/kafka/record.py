"""One record as plain data: what is left of a Kafka message once the client is out of sight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np
from confluent_kafka import Message

# What a Consumer hands out; the annotation of headers() also has what a Producer takes.
_Headers = list[tuple[str, bytes | str | None]]


class Record(NamedTuple):
    """A record and its place. `timestamp_ms` is the record's own (epoch milliseconds)."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


class Run:
    """Consecutive records of one partition, in columns; a `Record` of one where it is asked for.

    A record each would take 3 us of the 4 that all of the client's work takes.
    """

    __slots__ = ("_messages", "offsets", "values")

    def __init__(self, messages: Sequence[Message]) -> None:
        """`messages`: without errors."""
        self._messages = messages
        # A Consumer without deserialisers hands out bytes; its annotations allow str as well.
        self.values = cast(list[bytes | None], [*map(Message.value, messages)])
        offsets = cast(list[int], [*map(Message.offset, messages)])
        self.offsets = np.array(offsets, np.int64)  # (records,)

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, index: int) -> Record:
        return record(self._messages[index])

    def keys(self, count: int) -> list[bytes | None]:
        """Of the first so many."""
        return [_bytes(message.key()) for message in self._messages[:count]]


def record(message: Message) -> Record:
    """Take a message that carries no error apart."""
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    _, timestamp_ms = message.timestamp()
    return Record(
        topic,
        partition,
        offset,
        timestamp_ms,
        _bytes(message.key()),
        _bytes(message.value()),
        [(name, _bytes(value)) for name, value in cast(_Headers, message.headers() or [])],
    )


def _bytes(value: bytes | str | None) -> bytes | None:
    # A Consumer without deserialisers hands out bytes; its annotations allow str as well.
    return value.encode() if isinstance(value, str) else value
