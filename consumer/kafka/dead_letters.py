"""Dead letters: the bytes as received, and in headers why and where from.

Source: KIP-1034, https://cwiki.apache.org/confluence/display/KAFKA/KIP-1034
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import orjson

from consumer.kafka.record import Record

PREFIX = "__streams.errors."


class DeadLetter(NamedTuple):
    """A record that cannot be read: which, what kind of defect, and where in it."""

    record: Record
    kind: str
    reason: str


def headers(letter: DeadLetter) -> list[tuple[str, bytes | None]]:
    """The record's own headers, then ours; older ones of the same name are replaced."""
    record = letter.record
    own = {
        "exception": letter.kind,
        "message": letter.reason,
        "stacktrace": "",
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
    }
    received = [(name, value) for name, value in record.headers if not name.startswith(PREFIX)]
    return received + [(PREFIX + name, text.encode()) for name, text in own.items()]


def value(letter: DeadLetter, max_bytes: int) -> bytes | None:
    """The value as received; above the size limit its hash, its length and where it is."""
    record = letter.record
    if record.value is None or len(record.value) <= max_bytes:
        return record.value
    return orjson.dumps(
        {
            "sha256": hashlib.sha256(record.value).hexdigest(),
            "bytes": len(record.value),
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
        }
    )
