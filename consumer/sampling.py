"""How much of a partition's rows the join keeps, and what each kept row stands for.

At level L a row is kept when its id's hash lies in the lowest 2**-L of all hashes, and stands for
2**L rows. The sample is drawn by id, so every level's is part of the one below it: on a raise the
rows outside leave, and what stays is again a uniform sample. (Source: Gibbons and Tirthapura,
Estimating simple functions on the union of data streams, SPAA 2001, section 3.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from consumer.columns import Int8, Int64
from consumer.id_index import Hashes

HIGHEST = 64  # only the hash 0 is left
_ALL = 2**64 - 1
# The load is known over one horizon, in steps of 1/64 of it; over less than one step a burst in the
# first second would pass for three months like it.
BUCKETS = 64


class Sampling:
    """The level in force, the raises that led to it, and the load that decides it."""

    def __init__(self, horizon_ms: int) -> None:
        self.level = 0
        self._horizon_ms = horizon_ms
        self._width_ms = max(1, horizon_ms // BUCKETS)
        # [n, level]: every row seen before the n-th has at least this level. An entry that a later
        # and higher one covers is dropped: n rises, the level falls, at most 64 entries.
        self._raises: list[list[int]] = []
        self._since: int | None = None  # clock of the first row
        self._load: list[list[int]] = []  # [bucket's number, rows seen], oldest first

    @property
    def limit(self) -> int:
        """The highest hash that is kept."""
        return _ALL >> self.level

    def begin(self, clock: int) -> None:
        """Take note of the first row's clock."""
        self._since = clock

    def observe(self, rows: int, clock: int) -> None:
        """Count rows that were seen up to `clock`."""
        number = clock // self._width_ms
        if not self._load or self._load[-1][0] != number:
            self._load.append([number, 0])
        self._load[-1][1] += rows
        self._load = [bucket for bucket in self._load if bucket[0] > number - BUCKETS]

    def projected(self, clock: int) -> int | None:
        """Rows over a horizon like the last one; None where too little of it has passed."""
        if self._since is None:
            return None
        first = (clock // self._width_ms - BUCKETS + 1) * self._width_ms
        span = clock - max(first, self._since)
        if span < self._width_ms:
            return None
        return sum(rows for _, rows in self._load) * self._horizon_ms // span

    def wanted(self, clock: int, max_rows: int) -> int:
        """The level that the load calls for: as high as it must be, one lower where half would do.

        Half, so that a load near the budget does not swing between two levels.
        """
        rows = self.projected(clock)
        level = self.level
        if rows is None:
            return level
        while rows > max_rows << level and level < HIGHEST:
            level += 1
        if level and level == self.level and 2 * rows < max_rows << (level - 1):
            level -= 1
        return level

    def lift(self, level: int, n: int) -> None:
        """Raise the level; rows seen before the n-th now stand for at least 2**level each."""
        self.level = level
        self._raises = [entry for entry in self._raises if entry[1] > level]
        self._raises.append([n, level])

    def levels_since(self, n: Int64) -> Int8:
        """(rows,) the highest level raised since each n-th row."""
        starts = np.array([entry[0] for entry in self._raises], np.int64)
        levels = np.array([entry[1] for entry in self._raises] + [0], np.int8)
        found: Int8 = levels[np.searchsorted(starts, n, side="right")]
        return found

    def state(self) -> dict[str, Any]:
        """Plain data that `resume` takes."""
        return {
            "level": self.level,
            "raises": [list(entry) for entry in self._raises],
            "since": self._since,
            "width": self._width_ms,
            "load": [list(bucket) for bucket in self._load],
        }

    def resume(self, state: Mapping[str, Any], clock: int) -> None:
        """Go on from a `state`; under another horizon the load is counted anew from `clock` on."""
        self.level = int(state["level"])
        self._raises = [list(entry) for entry in state["raises"]]
        if state.get("width", self._width_ms) == self._width_ms:
            self._since = state["since"]
            self._load = [list(bucket) for bucket in state["load"]]
        else:
            self._since = clock


def within(hashes: Hashes, level: Int8) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """(rows,) does each row's own level keep its hash?"""
    # numpy shifts by all 64 bits to 0, as it should be at the highest level.
    kept: np.ndarray[Any, np.dtype[np.bool_]] = hashes <= np.uint64(_ALL) >> level.astype(np.uint64)
    return kept
