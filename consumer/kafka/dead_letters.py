"""Dead letters: the bytes as received, and in headers why and where from.

Source: KIP-1034, https://cwiki.apache.org/confluence/display/KAFKA/KIP-1034
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import orjson

from consumer.kafka.record import Record

PREFIX = "__streams.errors."
# On a record that was produced again: TOPIC/PARTITION/OFFSET of the record that failed first.
REPLAYED_FROM = "reflexive.replayed-from"


class DeadLetter(NamedTuple):
    """A record that cannot be read: which, what kind of defect, and where in it."""

    record: Record
    kind: str
    reason: str


class Shortened(NamedTuple):
    """What is kept of a value above the size limit."""

    sha256: str
    size: int  # bytes

    def is_of(self, value: bytes | None) -> bool:
        """Is this the value it was made from?"""
        return value is not None and hashlib.sha256(value).hexdigest() == self.sha256


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


def received(record: Record) -> DeadLetter | None:
    """The record that could not be read, from its record on the dead-letters topic.

    Its place and own headers are the original's; its time is when it became a dead letter. None
    where the headers are not ours.
    """
    found = dict(record.headers)
    try:
        kind, reason, topic, partition, offset = (
            (found[PREFIX + name] or b"").decode()
            for name in ("exception", "message", "topic", "partition", "offset")
        )
        original = record._replace(
            topic=topic,
            partition=int(partition),
            offset=int(offset),
            headers=[(name, text) for name, text in record.headers if not name.startswith(PREFIX)],
        )
    except (KeyError, ValueError):
        return None
    return DeadLetter(original, kind, reason)


def shortened(letter: DeadLetter) -> Shortened | None:
    """What stands in place of a value that was above the size limit; None where it is the value."""
    if letter.kind != "TooLarge":
        return None
    try:
        kept = orjson.loads(letter.record.value or b"")
        return Shortened(str(kept["sha256"]), int(kept["bytes"]))
    except (KeyError, TypeError, ValueError):
        return None
