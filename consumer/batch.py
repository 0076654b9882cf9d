"""Where monitor batches end: by the data alone, never by poll, commit or clock."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from consumer.columns import Int64

# A time that stands still would never end a batch: so many times its rows do, at 100 rows a million
# records, which is ten seconds' worth at 100,000 a second.
MOST_ROWS = 10_000


@dataclass(slots=True)
class BatchCutter:
    """A batch ends with the record that brings it to `rows` records and `span_ms` of their times.

    And at `most * rows` records whatever their times.

    >>> cutter = BatchCutter(rows=3, span_ms=20)
    >>> cutter.cut(np.array([0, 10, 15, 20, 30]))
    4
    """

    rows: int
    span_ms: int
    most: int = MOST_ROWS
    seen: int = 0
    _earliest: int = field(default=0)
    _latest: int = field(default=0)

    def cut(self, event_time: Int64) -> int | None:
        """How many of the coming records complete the batch; None where all of them do not."""
        if len(event_time) == 0:
            return None
        first = max(self.rows - self.seen - 1, 0)  # index of the first record that may complete it
        if first >= len(event_time):
            return None
        earliest = np.minimum.accumulate(event_time)
        latest = np.maximum.accumulate(event_time)
        if self.seen:
            earliest = np.minimum(earliest, self._earliest)
            latest = np.maximum(latest, self._latest)
        ends = (latest - earliest)[first:] >= self.span_ms
        most = self.most * self.rows - self.seen - 1
        if most - first < len(ends):
            ends[max(most - first, 0)] = True
        long_enough = np.flatnonzero(ends)
        return int(first + long_enough[0]) + 1 if len(long_enough) else None

    def take(self, event_time: Int64) -> None:
        """Count records into the batch."""
        if len(event_time) == 0:
            return
        earliest, latest = int(event_time.min()), int(event_time.max())
        self._earliest = min(self._earliest, earliest) if self.seen else earliest
        self._latest = max(self._latest, latest) if self.seen else latest
        self.seen += len(event_time)

    @property
    def is_complete(self) -> bool:
        """Do the records taken make a batch?"""
        lasts = self._latest - self._earliest >= self.span_ms
        return (self.seen >= self.rows and lasts) or self.seen >= self.most * self.rows

    def end(self) -> None:
        """Begin the next batch."""
        self.seen = 0

    def state(self) -> list[int]:
        """What a restart needs."""
        return [self.seen, self._earliest, self._latest]

    def load(self, state: list[int]) -> None:
        """Go on from a state."""
        self.seen, self._earliest, self._latest = state
