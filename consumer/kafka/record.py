"""One record as plain data: what is left of a Kafka message once the client is out of sight."""

from __future__ import annotations

from typing import NamedTuple, cast

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
