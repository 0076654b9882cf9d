"""Every decision as one event, shaped for the Elastic Common Schema; our fields under `reflexive`.

Source: https://www.elastic.co/docs/reference/ecs
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from consumer import __version__
from consumer.registry import Place

Event = dict[str, Any]

ECS_VERSION = "9.2.0"
DATASET = "reflexive.events"


class _Shape(NamedTuple):
    kind: str
    category: str
    type: str
    outcome: str


_SHAPES = {
    "consumer-started": _Shape("event", "process", "start", "success"),
    "consumer-stopped": _Shape("event", "process", "end", "success"),
    "partitions-assigned": _Shape("event", "process", "info", "success"),
    "partitions-revoked": _Shape("event", "process", "info", "success"),
    "drift-detected": _Shape("alert", "process", "info", "success"),
    "drift-recovered": _Shape("alert", "process", "info", "success"),
    "heal-requested": _Shape("event", "process", "start", "unknown"),
    "heal-deployed": _Shape("event", "configuration", "change", "success"),
    "heal-discarded": _Shape("event", "process", "end", "failure"),
    "heal-postponed": _Shape("event", "process", "info", "success"),
    "heal-provisional": _Shape("event", "configuration", "change", "success"),
    "heal-withdrawn": _Shape("event", "configuration", "change", "success"),
    "regime-changed": _Shape("alert", "process", "info", "success"),
    "change-withdrawn": _Shape("event", "process", "info", "success"),
    "regime-recognised": _Shape("event", "configuration", "change", "success"),
    "less-sure": _Shape("event", "configuration", "change", "success"),
    "cannot-heal": _Shape("alert", "process", "info", "failure"),
    "signal-lost": _Shape("alert", "process", "info", "failure"),
    "rollback": _Shape("event", "configuration", "change", "success"),
    "state-changed": _Shape("state", "process", "change", "success"),
    "approval-requested": _Shape("alert", "process", "info", "unknown"),
    "approval-expired": _Shape("alert", "process", "end", "failure"),
    "approval-void": _Shape("event", "process", "end", "failure"),
    "approved": _Shape("event", "configuration", "allowed", "success"),
    "rejected": _Shape("event", "configuration", "denied", "success"),
    "pinned": _Shape("event", "configuration", "change", "success"),
    "paused": _Shape("event", "configuration", "change", "success"),
    "resumed": _Shape("event", "configuration", "change", "success"),
    "command-refused": _Shape("event", "configuration", "error", "failure"),
    "thresholds-changed": _Shape("event", "configuration", "change", "success"),
    "threshold-judged": _Shape("event", "configuration", "info", "success"),
    "thresholds-refused": _Shape("event", "configuration", "error", "failure"),
    "dead-letters": _Shape("event", "process", "error", "failure"),
    "dead-letter-flood": _Shape("alert", "process", "error", "failure"),
    "labels-in-trouble": _Shape("alert", "process", "error", "failure"),
    "rule-disagrees": _Shape("alert", "configuration", "info", "failure"),
    "partitioner-mismatch": _Shape("alert", "configuration", "error", "failure"),
    "batch-monitored": _Shape("metric", "process", "info", "success"),
    "batch-labelled": _Shape("metric", "process", "info", "success"),
    "prequential": _Shape("metric", "process", "info", "success"),
}


class Events:
    """Makes the events of one application.

    An id is the hash of application, topic, partition, offset, kind and ordinal: a replay of the
    same records makes the same ids, and a search index keeps one of each.
    """

    def __init__(self, application_id: str, instance_id: str) -> None:
        self._application_id = application_id
        self._instance_id = instance_id
        self._of_process = 0
        self._ordinals: dict[tuple[str, int], tuple[int, Counter[str]]] = {}

    def at(
        self, place: Place, action: str, message: str, /, detail: str = "", **fields: Any
    ) -> Event:
        """An event of the stream: its time is the stream's.

        `detail` tells apart what may happen again at a place that others have followed.
        """
        key = (place.topic, place.partition)
        offset, counts = self._ordinals.get(key, (-1, Counter[str]()))
        if offset != place.offset:
            counts = Counter()
            self._ordinals[key] = (place.offset, counts)
        ordinal = counts[action]
        counts[action] += 1
        identity = (
            place.topic,
            str(place.partition),
            str(place.offset),
            action,
            detail,
            str(ordinal),
        )
        here = {"topic": place.topic, "partition": place.partition, "offset": place.offset}
        return self._event(identity, place.time_ms, action, message, {**here, **fields})

    def state(self, partition: int) -> dict[str, Any]:
        """What a restart needs to go on with the ordinals of a partition, by topic."""
        return {
            topic: [offset, counts]
            for (topic, number), (offset, counts) in self._ordinals.items()
            if number == partition
        }

    def load(self, partition: int, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        for topic, (offset, counts) in state.items():
            self._ordinals[topic, partition] = (offset, Counter(counts))

    def of_process(self, now_ms: int, action: str, message: str, /, **fields: Any) -> Event:
        """An event of the process's own life: its time is the wall clock."""
        self._of_process += 1
        identity = (self._instance_id, str(now_ms), action, str(self._of_process))
        event = self._event(identity, now_ms, action, message, fields)
        event["service"]["node"] = {"name": self._instance_id}
        return event

    def _event(
        self, identity: tuple[str, ...], time_ms: int, action: str, message: str, fields: Event
    ) -> Event:
        shape = _SHAPES[action]
        text = "\0".join((self._application_id, *identity))
        return {
            "@timestamp": iso8601(time_ms),
            "message": message,
            "ecs": {"version": ECS_VERSION},
            "event": {
                "id": hashlib.sha256(text.encode()).hexdigest()[:32],
                "kind": shape.kind,
                "category": [shape.category],
                "type": [shape.type],
                "action": action,
                "outcome": shape.outcome,
                "dataset": DATASET,
            },
            "service": {"name": self._application_id, "version": __version__},
            "reflexive": fields,
        }


# The first and last millisecond that ISO 8601 has four digits for the year of. A record's own time
# is whatever its producer wrote, up to the year 292278994.
FIRST_MS, LAST_MS = -62_135_596_800_000, 253_402_300_799_999


def iso8601(time_ms: int) -> str:
    """UTC, to the millisecond; the nearest that can be written.

    >>> iso8601(1767225600000)
    '2026-01-01T00:00:00.000Z'
    >>> iso8601(2**62), iso8601(-(2**62))
    ('9999-12-31T23:59:59.999Z', '0001-01-01T00:00:00.000Z')
    """
    time_ms = min(max(time_ms, FIRST_MS), LAST_MS)
    # Whole milliseconds: as a float of seconds the last one is rounded into the year 10000.
    time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time_ms)
    text = time.isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
