"""What lies on the dead-letters topic: which records could not be read, and why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from consumer.errors import DataError
from consumer.kafka import dead_letters, topics
from consumer.kafka.dead_letters import REPLAYED_FROM, DeadLetter, Shortened
from consumer.kafka.reader import read_all
from consumer.kafka.record import Record
from consumer.settings import Settings


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter. `record` is the one that could not be read, at its own place."""

    record: Record
    kind: str
    reason: str
    shortened: Shortened | None  # what is kept of a value above the size limit

    @property
    def place(self) -> str:
        """TOPIC/PARTITION/OFFSET of the record."""
        return place_of(self.record)

    @property
    def first(self) -> str:
        """Of the record that failed first, where this one is its replay."""
        return replayed_from(self.record) or self.place

    @property
    def dead_at(self) -> int:
        """When it became a dead letter, epoch ms."""
        return self.record.timestamp_ms


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which dead letters; None leaves a side open."""

    kind: str | None = None
    topic: str | None = None  # the record's own
    place: str | None = None

    def wants(self, letter: Letter) -> bool:
        """Is this one among them?"""
        return (
            self.kind in (None, letter.kind)
            and self.topic in (None, letter.record.topic)
            and (self.place is None or self.place in (letter.place, letter.first))
        )


@dataclass(frozen=True, slots=True)
class Count:
    """Dead letters of one kind from one partition."""

    kind: str
    topic: str
    partition: int
    count: int
    first_at: int  # epoch ms
    last_at: int


def letters(settings: Settings) -> tuple[list[Letter], int]:
    """Every dead letter of an application, the oldest first, and how many records are not ours.

    Raises: KafkaUnavailableError where the topic cannot be read.
    """
    found, foreign = [], 0
    for record in read_all(settings.kafka, topics.written(settings, "dead-letters")):
        letter = dead_letters.received(record)
        if letter is None:
            foreign += 1
        else:
            found.append(_letter(letter))
    # Partitions come interleaved; within one the order is that of its offsets already.
    found.sort(key=lambda letter: letter.dead_at)
    return found, foreign


def counts(found: Iterable[Letter]) -> Iterator[Count]:
    """How many of each kind, by topic and partition."""
    times: dict[tuple[str, str, int], list[int]] = defaultdict(list)
    for letter in found:
        times[letter.kind, letter.record.topic, letter.record.partition].append(letter.dead_at)
    for (kind, topic, partition), at in sorted(times.items()):
        yield Count(kind, topic, partition, len(at), min(at), max(at))


def at(found: Sequence[Letter], place: str) -> Letter:
    """The newest dead letter of the record at a place.

    Raises: DataError where there is none.
    """
    for letter in reversed(found):
        if letter.place == place:
            return letter
    raise DataError(f"no dead letter of {place}; see `python -m consumer dead-letters list`")


def checked_place(text: str) -> str:
    """A place as a person gives it.

    Raises: DataError where it is none.
    """
    topic, *numbers = text.split("/")
    if topic and len(numbers) == 2 and all(n.isascii() and n.isdigit() for n in numbers):
        return f"{topic}/{int(numbers[0])}/{int(numbers[1])}"
    raise DataError(f"{text!r}: expected TOPIC/PARTITION/OFFSET, such as transactions/0/1017")


def place_of(record: Record) -> str:
    """TOPIC/PARTITION/OFFSET."""
    return f"{record.topic}/{record.partition}/{record.offset}"


def replayed_from(record: Record) -> str | None:
    """Of the record that failed first, where this one was produced again for it."""
    value = dict(record.headers).get(REPLAYED_FROM)
    return None if value is None else value.decode(errors="replace")


def as_json(letter: Letter) -> dict[str, Any]:
    """For a program: bytes as text where they are UTF-8, else as hex."""
    record = letter.record
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "kind": letter.kind,
        "reason": letter.reason,
        "dead_at": letter.dead_at,
        "first": letter.first,
        "key": text_or_hex(record.key),
        "headers": [[name, text_or_hex(value)] for name, value in record.headers],
        "value": None if letter.shortened else text_or_hex(record.value),
        "shortened": letter.shortened._asdict() if letter.shortened else None,
    }


def text_or_hex(data: bytes | None) -> str | None:
    """Text where it is UTF-8, else `0x` and hex digits."""
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "0x" + data.hex()


def _letter(found: DeadLetter) -> Letter:
    return Letter(found.record, found.kind, found.reason, dead_letters.shortened(found))
