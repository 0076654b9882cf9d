"""Activations that no audit asks for any more, so that the registry topic does not grow for ever.

Each says what is in force from its offset on, up to the next one: it is needed for as long as the
next one is younger than the horizon. What goes is told by a record of its own, for the audit.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator

import orjson

ACTIVE = "active/"
EXPIRED = "expired/"  # and the partition: scores before which offset cannot be made again

Record = tuple[str, bytes | None]  # key and value; None is a tombstone


class Expiry:
    """The activations of the registry topic, by partition, in the order in which they came."""

    def __init__(self, horizon_ms: int) -> None:
        self._horizon_ms = horizon_ms
        # Offset and time of publishing, epoch ms.
        self._active: dict[str, deque[tuple[int, int]]] = defaultdict(deque)

    def saw(self, key: str, value: bytes | None, time_ms: int) -> None:
        """A record `active/…` of the topic."""
        partition, _, offset = key.removeprefix(ACTIVE).rpartition("/")
        active = self._active[partition]
        if value is not None:
            active.append((int(offset), time_ms))
        elif active and active[0][0] == int(offset):
            active.popleft()

    def due(self, now_ms: int) -> Iterator[Record]:
        """What to write, each once: tombstones, and where a partition's scores begin now."""
        for partition, active in self._active.items():
            gone = False
            while len(active) > 1 and active[1][1] < now_ms - self._horizon_ms:
                gone = True
                yield f"{ACTIVE}{partition}/{active.popleft()[0]}", None
            if gone:
                yield f"{EXPIRED}{partition}", orjson.dumps({"before": active[0][0]})
