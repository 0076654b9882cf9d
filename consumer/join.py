"""Scored transactions wait here for their labels, in columns, bounded by rows."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np

from consumer.columns import Float32, Float64, Int8, Int64, Labelled, Labels, Scores

# A label may be read before its transaction: they are two topics. It waits beside the rows, a tenth
# of their number at most, because a label that never finds its transaction must not stay for ever.
EARLY_SHARE = 10
_FIRST_CAPACITY = 1024


class _Early(NamedTuple):
    labelled_at: int
    is_fraud: int
    source: str | None


class Matched(NamedTuple):
    joined: Labelled
    corrected: list


class Join:
    """The join of one partition. Rules, each with a counter in `counts`, which partitions share:

    - `matched`: a label met its transaction.
    - `early`: it came first and waits; `early_dropped`: it waited too long.
    - `duplicate`: its transaction is labelled already; the first label stands.
    - `evicted`: a transaction left unlabelled because the row budget was full, the oldest first.
    - `reused_id`: a second transaction of the same id; labels go to the newer one.
    """

    def __init__(
        self, partition: int, features: int, max_rows: int, horizon_ms: int = 0, schema: int = 0
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._partition = partition
        self._max_rows = max_rows
        self._slot_of: dict[str, int] = {}
        self._early: dict[str, _Early] = {}
        self._next = 0  # rows ever added
        self._ids: list[str] = []
        self._capacity = 0
        self._event_time: Int64 = np.empty(0, np.int64)
        self._offset: Int64 = np.empty(0, np.int64)
        self._version: Int64 = np.empty(0, np.int64)
        self._score: Float32 = np.empty(0, np.float32)
        self._shadow: Float32 = np.empty(0, np.float32)
        self._threshold: Float64 = np.empty(0, np.float64)
        self._labelled: Int8 = np.empty(0, np.int8)
        self._x: Float32 = np.empty((0, features), np.float32)

    def __len__(self) -> int:
        return min(self._next, self._capacity)

    def add(self, scores: Scores) -> Labelled | None:
        """Keep scored rows; returns those whose label had come before them."""
        transactions = scores.transactions
        if not len(transactions):
            return None
        # More rows than the budget at once: only the newest can stay.
        start = max(0, len(transactions) - self._max_rows)
        self.counts["evicted"] += start
        waiting: list[tuple[str, _Early]] = []
        for index in range(start, len(transactions), _FIRST_CAPACITY):
            self._add(scores, index, min(index + _FIRST_CAPACITY, len(transactions)), waiting)
        if not waiting:
            return None
        return self.match(
            Labels(
                self._partition,
                [row[0] for row in waiting],
                np.array([row[1].labelled_at for row in waiting], np.int64),
                np.array([row[1].is_fraud for row in waiting], np.int8),
                [row[1].source for row in waiting],
                np.zeros(len(waiting), np.int64),
            )
        ).joined

    def changes(self):
        return []

    def state(self):
        return {"counts": self.counts}

    def replay(self, keys, values, before):
        pass

    def resume(self, state):
        self.counts = Counter(state["counts"])

    def _add(
        self, scores: Scores, start: int, stop: int, waiting: list[tuple[str, _Early]]
    ) -> None:
        rows = scores.transactions.rows(start, stop)
        self._grow(len(rows))
        slots = np.arange(self._next, self._next + len(rows)) % self._capacity
        for slot, name in zip(slots.tolist(), rows.ids, strict=True):
            if self._next >= self._capacity:
                old = self._ids[slot]
                if self._slot_of.get(old) == slot:
                    del self._slot_of[old]
                    self.counts["evicted"] += int(not self._labelled[slot])
                self._ids[slot] = name
            else:
                self._ids.append(name)
            self._next += 1
            self.counts["reused_id"] += name in self._slot_of
            self._slot_of[name] = slot
            self._labelled[slot] = 0
            early = self._early.pop(name, None)
            if early is not None:
                waiting.append((name, early))
        self._event_time[slots] = rows.event_time
        self._offset[slots] = rows.offset
        self._version[slots] = scores.adapter_version
        self._score[slots] = scores.score[start:stop]
        self._shadow[slots] = scores.shadow[start:stop]
        self._threshold[slots] = scores.threshold
        self._x[slots] = rows.x

    def match(self, labels: Labels):
        """Join labels to their transactions; the rest waits or is counted."""
        found: list[int] = []
        slots: list[int] = []
        for index, name in enumerate(labels.ids):
            slot = self._slot_of.get(name)
            if slot is None:
                self._wait(
                    name,
                    _Early(
                        int(labels.labelled_at[index]),
                        int(labels.is_fraud[index]),
                        labels.source[index],
                    ),
                )
            elif self._labelled[slot]:
                self.counts["duplicate"] += 1
            else:
                self._labelled[slot] = 1
                found.append(index)
                slots.append(slot)
        self.counts["matched"] += len(found)
        return Matched(
            Labelled(
                self._partition,
                [labels.ids[index] for index in found],
                self._event_time[slots],
                labels.labelled_at[found],
                labels.is_fraud[found],
                [labels.source[index] for index in found],
                self._x[slots],
                self._score[slots],
                self._shadow[slots],
                self._threshold[slots],
                self._version[slots],
                self._offset[slots],
                np.ones(len(slots)),
            ),
            [],
        )

    def _wait(self, name: str, early: _Early) -> None:
        if name in self._early:
            self.counts["duplicate"] += 1
            return
        self.counts["early"] += 1
        self._early[name] = early
        if len(self._early) > max(_FIRST_CAPACITY, self._max_rows // EARLY_SHARE):
            self._early.pop(next(iter(self._early)))
            self.counts["early_dropped"] += 1

    def _grow(self, more: int) -> None:
        """Double until the budget is reached; then the oldest rows give way."""
        needed = min(self._next + more, self._max_rows)
        if needed <= self._capacity:
            return
        capacity = min(self._max_rows, max(needed, 2 * self._capacity, _FIRST_CAPACITY))
        for name in (
            "_event_time",
            "_offset",
            "_version",
            "_score",
            "_shadow",
            "_threshold",
            "_labelled",
            "_x",
        ):
            old = getattr(self, name)
            new = np.zeros((capacity, *old.shape[1:]), old.dtype)
            new[: len(old)] = old
            setattr(self, name, new)
        self._capacity = capacity
