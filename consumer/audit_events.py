"""Is the chain of decisions whole? Every place where it is not is named.

What a decision holds is vouched for by the next one, and by the checkpoint where it was the last.
Who may write to both topics could make all of it anew: an auditor who notes the head now and then
would see.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any

import orjson

from consumer import chain, restore
from consumer.chain import Head
from consumer.kafka import topics
from consumer.kafka.reader import Reader, read_all
from consumer.kafka.record import Record
from consumer.pipeline import HEALER
from consumer.settings import Settings


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision of the chain, as it lies on the topic."""

    sequence: int
    previous: str  # what it says the hash of the one before is
    sha256: str
    action: str
    offset: int

    def __str__(self) -> str:
        return f"decision {self.sequence} ({self.action}, offset {self.offset})"


@dataclass(slots=True)
class Checked:
    """What was found."""

    head: Head  # by the last checkpoint
    events: int = 0
    decisions: int = 0  # of the chain, each counted once
    gone: int = 0  # decisions before the topic's beginning
    doubled: int = 0  # once more with the same content: at_least_once does that
    outside: int = 0  # decisions that are not in the chain
    wrong: list[str] = field(default_factory=list)


def audit(settings: Settings) -> Checked:
    """Check the chain of an application.

    Raises: KafkaUnavailableError where a topic cannot be read.
    """
    topic = topics.written(settings, "events")
    with Reader(settings.kafka) as reader:
        # A consumer may be at work: what the first head knows must be there, and what is there the
        # second one must know.
        before = restore.head(reader, settings, HEALER)
        records = list(read_all(settings.kafka, topic))
        return check(records, before, restore.head(reader, settings, HEALER))


def event_of(record: Record) -> dict[str, Any] | None:
    """The event that a record holds; None where it holds none."""
    try:
        event = orjson.loads(record.value or b"")
        about, own, message = event["event"], event["reflexive"], event["message"]
        texts = (about["id"], about["kind"], about["action"], message)
        timed = datetime.fromisoformat(event["@timestamp"]).tzinfo is not None
    except (ValueError, LookupError, TypeError):
        return None
    readable = timed and isinstance(own, dict) and all(isinstance(text, str) for text in texts)
    return event if readable else None


def check(records: Iterable[Record], before: Head, after: Head) -> Checked:
    """Check events as they lie on the topic against the heads read before and after them."""
    found = Checked(after)
    first_offset: int | None = None
    stand: dict[int, Decision] = {}  # by number, in the order of the topic
    for record in records:
        found.events += 1
        first_offset = record.offset if first_offset is None else first_offset
        event = event_of(record)
        if event is None:
            found.wrong.append(f"offset {record.offset}: not an event")
        elif "sequence" not in event["reflexive"]:
            found.outside += chain.is_decision(event)
        elif (decision := _decision(record, event)) is None:
            found.wrong.append(f"offset {record.offset}: its place in the chain is not readable")
        elif (other := stand.setdefault(decision.sequence, decision)).sha256 != decision.sha256:
            found.wrong.append(
                f"{decision}: another one at offset {other.offset} has the same number"
            )
        else:
            found.doubled += other is not decision
    found.decisions = len(stand)
    if first_offset and stand:  # the topic's retention has taken what was before
        found.gone = min(stand) - 1
    _missing(found, stand, before)
    _order(found, stand)
    _content(found, stand, {before, after})
    if stand and (last := max(stand)) > after.sequence:
        found.wrong.append(
            f"{_numbers(max(after.sequence + 1, min(stand)), last)} no checkpoint knows of "
            "(with at_least_once: none does before the next commit)"
        )
    return found


def _decision(record: Record, event: Mapping[str, Any]) -> Decision | None:
    own = event["reflexive"]
    sequence, previous = own["sequence"], own.get("previous")
    if not isinstance(sequence, int) or sequence < 1 or not isinstance(previous, str):
        return None
    sha256 = chain.sha256(record.value or b"")
    return Decision(sequence, previous, sha256, str(event["event"]["action"]), record.offset)


def _missing(found: Checked, stand: Mapping[int, Decision], before: Head) -> None:
    numbers = sorted(stand)
    end = max([before.sequence, *numbers[-1:]]) + 1
    for one, other in pairwise([found.gone, *numbers, end]):
        if other - one > 1:
            said = f"{_numbers(one + 1, other - 1)} missing"
            if one in stand:
                said += f": nothing vouches for what {stand[one]} holds"
            found.wrong.append(said)


def _order(found: Checked, stand: Mapping[int, Decision]) -> None:
    for decision, belongs in zip(stand.values(), sorted(stand), strict=True):
        if decision.sequence != belongs:
            found.wrong.append(f"{decision}: out of order, it stands where {belongs} belongs")


def _content(found: Checked, stand: Mapping[int, Decision], heads: Iterable[Head]) -> None:
    if 1 in stand and stand[1].previous != Head().sha256:
        found.wrong.append(f"{stand[1]}: altered, the first one follows none")
    known = {(head.sequence, head.sha256): "the checkpoint" for head in heads}
    known |= {(one.sequence - 1, one.previous): str(one) for one in stand.values()}
    for (number, sha256), by in sorted(known.items()):
        if number in stand and stand[number].sha256 != sha256:
            found.wrong.append(f"{stand[number]}: altered, {by} knows it with another content")


def _numbers(first: int, last: int) -> str:
    return f"decision {first}" if first == last else f"decisions {first} to {last}"
