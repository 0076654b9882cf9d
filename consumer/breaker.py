"""A circuit breaker against floods of unreadable messages.

A few broken messages are set aside and the stream goes on. A topic of nothing but broken ones means
a wrong topic, a wrong path or a changed format: to go on would set the whole stream aside, commit
its offsets, and call that progress.

Source: Nygard, "Release It!", 2nd edition, 2018, section 5.2 (circuit breaker).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from consumer.columns import Int64

# Long enough that a share means something (at a true share of 40% more than half of 1,000 are bad
# once in 10^10), short enough that the flags of every partition stay within a kilobyte.
WINDOW = 1_000


@dataclass(frozen=True, slots=True)
class Trip:
    """Where a breaker tripped, by which rule, and on what figures."""

    rule: Literal["run", "share"]
    index: int  # of the record among those handed in: no later one may be let through
    offset: int
    run: int  # bad records in a row, this one included
    bad: int  # bad ones among the last `rows`
    rows: int

    @property
    def reason(self) -> str:
        """What was seen, in words."""
        if self.rule == "run":
            return f"{self.run:,} unreadable messages in a row, up to offset {self.offset}"
        return f"{self.bad:,} of {self.rows:,} messages unreadable, up to offset {self.offset}"


class Breaker:
    """Watches the consecutive records of one topic partition.

    It trips at the record that makes `max_run` bad ones in a row (0: never), or at one that makes
    more than `max_share` (1: never) of the last `window` records bad. The share is judged only when
    the window is full: two bad ones among the first three are no flood. At one record the run is
    named first.

    >>> breaker = Breaker(max_run=3, max_share=1)
    >>> breaker.check(np.arange(5, 7), np.array([False, True]))
    >>> trip = breaker.check(np.arange(7, 10), np.array([True, True, True]))
    >>> trip.index, trip.reason
    (1, '3 unreadable messages in a row, up to offset 8')
    """

    def __init__(self, *, max_run: int, max_share: float, window: int = WINDOW) -> None:
        self._max_run = max_run
        self._max_share = max_share
        self._window = window
        self._run = 0  # bad ones in a row up to the last record seen
        self._flags: NDArray[np.bool_] = np.empty(0, bool)  # of the last window - 1 records

    def check(self, offsets: Int64, bad: NDArray[np.bool_]) -> Trip | None:
        """Take the next records in offset order; the first one that trips.

        `offsets`, `bad`: (rows,). Records behind a trip count as not seen: a caller that goes on
        after all hands them in again.
        """
        rows = len(bad)
        if rows == 0:
            return None
        number = np.arange(rows)
        # The last good record at or before each one; before the first one lies the run so far.
        good = np.maximum.accumulate(np.where(bad, -1 - self._run, number))  # (rows,)
        runs = number - good  # (rows,) bad ones in a row up to each record

        flags = np.concatenate([self._flags, bad])
        sums = np.concatenate([[0], np.cumsum(flags)])  # (len(flags) + 1,)
        end = np.arange(len(self._flags) + 1, len(flags) + 1)  # (rows,) behind each record
        start = np.maximum(end - self._window, 0)
        counts = sums[end] - sums[start]  # (rows,) bad ones in the window up to each record

        by_run = (runs >= self._max_run) & (self._max_run > 0)
        by_share = (end >= self._window) & (counts > self._max_share * self._window)
        tripped = np.flatnonzero(by_run | by_share)
        last = int(tripped[0]) if len(tripped) else rows - 1

        self._run = int(runs[last])
        kept = flags[: int(end[last])]
        self._flags = kept[max(0, len(kept) - (self._window - 1)) :].copy()
        if not len(tripped):
            return None
        return Trip(
            rule="run" if by_run[last] else "share",
            index=last,
            offset=int(offsets[last]),
            run=int(runs[last]),
            bad=int(counts[last]),
            rows=int(end[last] - start[last]),
        )
