"""The chain of decisions: each carries its number and the hash of the one before it.

In it are the decisions of the replica that heals, in the order in which they are handed out. What a
replica says that does not heal, a process of its own life, and measurements, are not. Who removes,
alters or swaps one breaks what the next one says of it; of the last one the checkpoint says it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from consumer import encode
from consumer.events import Event

# What is said and decides nothing: of a process's own life, of messages, of the set-up.
NO_DECISION = frozenset(
    {
        "consumer-started",
        "consumer-stopped",
        "partitions-assigned",
        "partitions-revoked",
        "dead-letters",
        "dead-letter-flood",
        "labels-in-trouble",
        "partitioner-mismatch",
    }
)


@dataclass(frozen=True, slots=True)
class Head:
    """The last decision: its number, and the SHA-256 of its bytes as published."""

    sequence: int = 0
    sha256: str = "0" * 64


def is_decision(event: Mapping[str, Any]) -> bool:
    """Is it a decision, by what it is about?"""
    about = event["event"]
    return about["kind"] != "metric" and about["action"] not in NO_DECISION


def seal(events: Iterable[Event], head: Head) -> tuple[list[Event], Head]:
    """The events, the decisions among them as the next ones of the chain; and its new head.

    >>> def event(action):
    ...     return {"event": {"kind": "event", "action": action}, "reflexive": {}}
    >>> events, head = seal(map(event, ["dead-letters", "rollback", "less-sure"]), Head())
    >>> [event["reflexive"].get("sequence") for event in events], head.sequence
    ([None, 1, 2], 2)
    """
    sealed = []
    for event in events:
        sealed.append(event)
        if is_decision(event):
            place = {"sequence": head.sequence + 1, "previous": head.sha256}
            sealed[-1] = {**event, "reflexive": {**event["reflexive"], **place}}
            head = Head(head.sequence + 1, sha256(encode.event(sealed[-1])))
    return sealed, head


def sha256(value: bytes) -> str:
    """What the next decision says of one that was published with this value."""
    return hashlib.sha256(value).hexdigest()
