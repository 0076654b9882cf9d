"""The newest monitor batches since the change, sampled: what the stream looks like now."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from consumer.columns import Float32, Float64
from consumer.policy import MonitorBatch

BATCHES, SAMPLED = 20, 100  # at most, and rows of each
STEADY_SE = 3.5  # by less the means of two halves of them differ, where they are steady


@dataclass(frozen=True, slots=True)
class _Batch:
    x: Float32  # (rows, features)
    mean: Float64  # (features,)
    partition: int
    first_offset: int
    last_offset: int
    start_ms: int

    @staticmethod
    def of(batch: MonitorBatch) -> _Batch:
        place, step = batch.place, max(1, len(batch) // SAMPLED)
        x = batch.x[::step][:SAMPLED]
        mean = x.mean(axis=0, dtype=np.float64)
        return _Batch(x, mean, place.partition, batch.first_offset, place.offset, batch.start_ms)


class Recent:
    """Oldest first."""

    def __init__(self, batches: Sequence[MonitorBatch] = ()) -> None:
        self._batches = [_Batch.of(batch) for batch in batches]

    def __len__(self) -> int:
        return len(self._batches)

    def add(self, batch: MonitorBatch) -> None:
        """One more has ended."""
        self._batches = [*self._batches, _Batch.of(batch)][-BATCHES:]

    def start_ms(self, batches: int) -> int:
        """When the last so many began; of a partition that is gone they are not here any more."""
        return self._batches[-min(batches, len(self._batches))].start_ms

    def since(self, start_ms: int) -> int:
        """How many began then or later."""
        return sum(one.start_ms >= start_ms for one in self._batches)

    def cut(self, batches: int) -> list[Float32]:
        """Keep the last so many; returns the others, (rows, features) each."""
        kept = max(0, len(self._batches) - batches)
        old, self._batches = self._batches[:kept], self._batches[kept:]
        return [one.x for one in old]

    def drop(self, partition: int) -> None:
        """Another replica has it now."""
        self._batches = [one for one in self._batches if one.partition != partition]

    @property
    def rows(self) -> Float32:
        """All of them, (rows, features); of none there is nothing, (0, 0)."""
        if not self._batches:
            return np.empty((0, 0), np.float32)
        return np.concatenate([one.x for one in self._batches])

    def steady(self, sd: Float64) -> list[Float32]:
        """The newest batches whose means agree, (rows, features) each: as many as there are."""
        rows = np.array([len(one.x) for one in self._batches])
        sums = np.array([one.mean for one in self._batches]) * rows[:, None]
        best = min(3, len(rows))
        for count in (5, 7, 10, 14, 20):
            if count > len(rows):
                break
            new, old = slice(-(count // 2), None), slice(-count, -(count // 2))
            newer, older = int(rows[new].sum()), int(rows[old].sum())
            moved = sums[new].sum(axis=0) / newer - sums[old].sum(axis=0) / older
            error = sd * math.sqrt(1 / newer + 1 / older)
            if (np.abs(moved) / error).max() > STEADY_SE:
                break
            best = count
        return [one.x for one in self._batches[-best:]]

    def places(self) -> list[tuple[int, int, int]]:
        """Partition, first and last offset of each: where a restart finds them again."""
        return [(one.partition, one.first_offset, one.last_offset) for one in self._batches]
