"""Labelled rows to learn from: the newest of each partition, with the time each happened.

They are the tail of the labelled topic, so a restart reads them there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from consumer.columns import Float32, Float64, Int8, Int64, Labelled, UInt8
from consumer.experts.base import Learning
from consumer.hedge import weights

CAPACITY = 250_000  # rows a partition: some weeks of a busy one
# A heal learns from the newest rows until so many of them are fraud, and at least so many in all;
# of more than a heal has time for, legitimate ones are thinned and weigh more.
FRAUDS, NEWEST = 1_000, 4_000
LEARNT = 10_000
# Experts are weighed on about so many rows of a batch at most, thinned in the same way: they tell
# better from worse, and thousands would keep rows waiting for their score meanwhile, 14 us each.
WEIGHED = 500
# Which rows are held back from training goes by their place in the stream and not by chance:
# Fibonacci hashing spreads offsets evenly, whatever period the stream has.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def eighth(offset: Int64) -> UInt8:
    """The part of the stream that each row belongs to, (rows,) 0 to 7."""
    return ((offset.astype(np.uint64) * _GOLDEN) >> np.uint64(61)).astype(np.uint8)


def _uniform(offset: Int64) -> Float64:
    """A number in [0, 1) for each row, from bits that `eighth` does not look at."""
    mixed = (offset.astype(np.uint64) * _GOLDEN) << np.uint64(2)
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _thinned(
    y: Int8, weight: Float64, offset: Int64, most: int
) -> tuple[NDArray[np.bool_], Float64]:
    """Which rows stay, about `most` of them, every fraud among them; and weights, (rows,) each."""
    legit = y == 0
    kept = max(1, most - int((~legit).sum())) / max(1, int(legit.sum()))
    return ~legit | (_uniform(offset) < kept), np.where(legit, weight / kept, weight)


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
    frozen: list[Float32] = field(default_factory=list)
    score: list[Float32] = field(default_factory=list)
    groups: list[UInt8] = field(default_factory=list)
    count: int = 0
    newest_ms: int = -(2**62)

    def whole(self) -> None:
        """One array each, no more rows than fit."""
        if len(self.y) > 1 or self.count > CAPACITY:
            for name in ("x", "y", "time", "offset", "weight", "frozen", "score", "groups"):
                setattr(self, name, [np.concatenate(getattr(self, name))[-CAPACITY:]])
            self.count = min(self.count, CAPACITY)


class Memory:
    """Rows by partition, in the order in which their labels came."""

    def __init__(self) -> None:
        self._partitions: dict[int, _Rows] = {}
        self.until_ms = math.inf  # what happened later is here, and not counted yet

    def add(self, rows: Labelled) -> None:
        """Take rows in."""
        if not len(rows):
            return
        mine = self._partitions.setdefault(rows.partition, _Rows())
        mine.newest_ms = max(mine.newest_ms, int(rows.event_time.max()))
        mine.x.append(rows.x)
        mine.y.append(rows.is_fraud)
        mine.time.append(rows.event_time)
        mine.offset.append(rows.offset)
        mine.weight.append(rows.weight)
        mine.frozen.append(rows.shadow)
        mine.score.append(rows.score)
        mine.groups.append(rows.groups)
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
            for start, stop in self._counted(spans)
        )

    def __len__(self) -> int:
        """Rows of all partitions."""
        return sum(map(self.count, self._partitions))

    @property
    def newest_ms(self) -> int:
        """When the last row happened whose label has come and is counted."""
        newest = max((mine.newest_ms for mine in self._partitions.values()), default=-(2**62))
        return int(min(newest, self.until_ms))

    def losses(self, wanted: list[tuple[int, float]]) -> Float64:
        """(3, rows) of these spans: losses of the frozen model and of the mixture, weights."""
        parts = [np.zeros((3, 0))]
        for number in sorted(self._partitions):
            mine = self._partitions[number]
            if mine.count:
                mine.whole()
                at = _within(mine.time[0], self._counted(wanted))
                y = mine.y[0][at]
                losses = [weights.loss(p[0][at], y) for p in (mine.frozen, mine.score)]
                parts.append(np.stack([*losses, mine.weight[0][at]]))
        return np.concatenate(parts, axis=1)

    def learning(self, wanted: list[tuple[int, float]]) -> Learning | None:
        """The newest rows of these spans of event time, oldest first; None where there are none.

        By time, partition and offset: in whichever order partitions' labels came. As many as a
        regime needs; of very many, legitimate ones are thinned and weigh more.
        """
        found = self._rows(wanted, _newest)
        if found is None:
            return None
        x, y, weight, offset, groups = found
        if len(y) > LEARNT:
            chosen, weight = _thinned(y, weight, offset, LEARNT)
            x, y, weight, offset = x[chosen], y[chosen], weight[chosen], offset[chosen]
            groups = groups[chosen]
        return _learning(x, y, weight, offset, groups)

    def all(self) -> Learning | None:
        """Every row, oldest first; None where there are none."""
        found = self._rows([(-(2**62), math.inf)], lambda order, _: order[-CAPACITY:])
        return None if found is None else _learning(*found)

    def _rows(
        self,
        wanted: list[tuple[int, float]],
        newest: Callable[[NDArray[np.int64], Int8], NDArray[np.int64]],
    ) -> tuple[Float32, Int8, Float64, Int64, UInt8] | None:
        found = []
        for number, mine in self._partitions.items():
            if not mine.count:
                continue
            mine.whole()
            time, offset = mine.time[0], mine.offset[0]
            at = _within(time, self._counted(wanted))
            order = newest(at[np.lexsort((offset[at], time[at]))], mine.y[0])
            found.append(
                (time[order], np.full(len(order), number), offset[order], mine.x[0][order],
                 mine.y[0][order], mine.weight[0][order], mine.groups[0][order])
            )  # fmt: skip
        if not found:
            return None
        time, numbers, offset, x, y, weight, groups = (
            np.concatenate(c) for c in zip(*found, strict=True)
        )
        last = newest(np.lexsort((offset, numbers, time)), y)
        if not len(last):
            return None
        return x[last], y[last], weight[last], offset[last], groups[last]

    def _counted(self, spans: list[tuple[int, float]]) -> list[tuple[int, float]]:
        return [(start, min(stop, self.until_ms + 1)) for start, stop in spans]


def _within(time: Int64, wanted: list[tuple[int, float]]) -> NDArray[np.int64]:
    chosen = np.zeros(len(time), bool)
    for start, stop in wanted:
        chosen |= (time >= start) & (time < stop)
    return np.flatnonzero(chosen)


def _learning(x: Float32, y: Int8, weight: Float64, offset: Int64, groups: UInt8) -> Learning:
    return Learning(
        np.ascontiguousarray(x),
        y.astype(np.float32),
        (weight / weight.mean()).astype(np.float32),
        eighth(offset),
        groups,
    )


def in_order(labelled: Sequence[Labelled]) -> tuple[Float32, Float64, Float64]:
    """Features (rows, features), labels and weights (rows,), in the order of their transactions.

    Of very many legitimate ones are thinned, and weigh more. A restart brings partitions back one
    after the other: neither sums nor who is left may depend on it.
    """
    time = np.concatenate([rows.event_time for rows in labelled])
    offset = np.concatenate([rows.offset for rows in labelled])
    partition = np.concatenate([np.full(len(rows), rows.partition) for rows in labelled])
    y = np.concatenate([rows.is_fraud for rows in labelled])
    weight = np.concatenate([rows.weight for rows in labelled])
    order = np.lexsort((offset, partition, time))
    if len(order) > WEIGHED:
        # Partitions may be at the same offsets.
        chosen, weight = _thinned(y, weight, offset + (partition << 40), WEIGHED)
        order = order[chosen[order]]
    x = np.concatenate([rows.x for rows in labelled])[order]
    return x, y.astype(np.float64)[order], weight[order]
