"""Labelled rows to learn from: the newest of each partition, with the time each happened.

They are the tail of the labelled topic, so a restart reads them there.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from consumer.columns import Float32, Float64, Int8, Int64, Labelled
from consumer.experts.base import Learning

CAPACITY = 250_000  # rows a partition: some weeks of a busy one
# A heal learns from the newest rows until so many of them are fraud, and at least so many in all;
# of more than a heal has time for, legitimate ones are thinned and weigh more.
FRAUDS, NEWEST = 1_000, 4_000
LEARNT = 10_000
# A fixed quarter is held back from training, by its place in the stream and not by chance:
# Fibonacci hashing spreads offsets evenly, whatever period the stream has.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def held(offset: Int64) -> NDArray[np.bool_]:
    """Which rows are held back, (rows,)."""
    mixed = offset.astype(np.uint64) * _GOLDEN
    found: NDArray[np.bool_] = (mixed >> np.uint64(62)) == 3
    return found


def _uniform(offset: Int64) -> Float64:
    """A number in [0, 1) for each row, from bits that `held` does not look at."""
    mixed = (offset.astype(np.uint64) * _GOLDEN) << np.uint64(2)
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _newest(order: NDArray[np.int64], y: Int8) -> NDArray[np.int64]:
    """Of rows in order, oldest first, the newest ones with enough fraud among them."""
    fraud = np.cumsum(y[order][::-1] == 1)
    count = int(np.searchsorted(fraud, FRAUDS, side="left")) + 1
    return order[-max(NEWEST, count) :]


def relabelled(rows: Labelled, corrected: Labelled) -> Labelled:
    """The rows, with the labels of those of them that were corrected."""
    if rows.partition != corrected.partition:
        return rows
    return replace(rows, is_fraud=_corrected(rows.is_fraud, rows.offset, corrected))


def _corrected(y: Int8, offset: Int64, by: Labelled) -> Int8:
    at = np.flatnonzero(np.isin(offset, by.offset))
    if not len(at):
        return y
    label = dict(zip(by.offset.tolist(), by.is_fraud.tolist(), strict=True))
    changed = y.copy()
    changed[at] = [label[int(each)] for each in offset[at]]
    return changed


@dataclass(slots=True)
class _Rows:
    x: list[Float32] = field(default_factory=list)
    y: list[Int8] = field(default_factory=list)
    time: list[Int64] = field(default_factory=list)
    offset: list[Int64] = field(default_factory=list)
    weight: list[Float64] = field(default_factory=list)
    count: int = 0

    def whole(self) -> None:
        """One array each, no more rows than fit."""
        if len(self.y) > 1 or self.count > CAPACITY:
            for name in ("x", "y", "time", "offset", "weight"):
                setattr(self, name, [np.concatenate(getattr(self, name))[-CAPACITY:]])
            self.count = min(self.count, CAPACITY)


class Memory:
    """Rows by partition, in the order in which their labels came."""

    def __init__(self) -> None:
        self._partitions: dict[int, _Rows] = {}

    def add(self, rows: Labelled) -> None:
        """Take rows in."""
        if not len(rows):
            return
        mine = self._partitions.setdefault(rows.partition, _Rows())
        mine.x.append(rows.x)
        mine.y.append(rows.is_fraud)
        mine.time.append(rows.event_time)
        mine.offset.append(rows.offset)
        mine.weight.append(rows.weight)
        mine.count += len(rows)
        if mine.count > 2 * CAPACITY:
            mine.whole()

    def correct(self, rows: Labelled) -> None:
        """A label has changed its mind; rows that are not here any more are passed over."""
        mine = self._partitions.get(rows.partition)
        if mine is not None:
            mine.y = [
                _corrected(y, offset, rows) for y, offset in zip(mine.y, mine.offset, strict=True)
            ]

    def drop(self, partition: int) -> None:
        """Forget a partition: another replica has it now."""
        self._partitions.pop(partition, None)

    def count(self, partition: int) -> int:
        """Rows a restart has to bring back."""
        mine = self._partitions.get(partition)
        return 0 if mine is None else min(mine.count, CAPACITY)

    def count_in(self, spans: list[tuple[int, float]]) -> int:
        """How many rows happened in these spans of event time."""
        return sum(
            int(((time >= start) & (time < stop)).sum())
            for mine in self._partitions.values()
            for time in mine.time
            for start, stop in spans
        )

    def learning(self, wanted: list[tuple[int, float]]) -> Learning | None:
        """The newest rows of these spans of event time, oldest first; None where there are none.

        By time, partition and offset: in whichever order partitions' labels came.
        """
        found = []
        for number, mine in self._partitions.items():
            if not mine.count:
                continue
            mine.whole()
            time, offset = mine.time[0], mine.offset[0]
            chosen = np.zeros(len(time), bool)
            for start, stop in wanted:
                chosen |= (time >= start) & (time < stop)
            at = np.flatnonzero(chosen)
            order = _newest(at[np.lexsort((offset[at], time[at]))], mine.y[0])
            found.append(
                (time[order], np.full(len(order), number), offset[order], mine.x[0][order],
                 mine.y[0][order], mine.weight[0][order])
            )  # fmt: skip
        if not found:
            return None
        time, numbers, offset, x, y, weight = (np.concatenate(c) for c in zip(*found, strict=True))
        last = _newest(np.lexsort((offset, numbers, time)), y)
        if not len(last):
            return None
        if len(last) > LEARNT:
            legit = y[last] == 0
            kept = max(1, LEARNT - int((~legit).sum())) / max(1, int(legit.sum()))
            chosen = ~legit | (_uniform(offset[last]) < kept)
            weight = np.where(y == 0, weight / kept, weight)
            last = last[chosen]
        weight = weight[last] / weight[last].mean()
        return Learning(
            np.ascontiguousarray(x[last]),
            y[last].astype(np.float32),
            weight.astype(np.float32),
            held(offset[last]),
        )
