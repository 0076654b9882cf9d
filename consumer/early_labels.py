"""Labels that came before their transactions: two topics are read, and either may be ahead."""

from __future__ import annotations

import heapq
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from consumer.columns import Labels
from consumer.id_index import Hashes
from consumer.join_record import Change, Early, early_value

# Event time runs on past a label's own time by a day: whatever the two topics' paces, a transaction
# older than its label would have come by then.
PATIENCE_MS = 24 * 60 * 60 * 1000
# A tenth as many may wait as transactions are held: more are the labels of another stream.
_SHARE = 10
_FEWEST = 1024
_STALE = 1024  # entries that need no clearing away

Ranks = Mapping[Any, int]  # of sources: the lower the number, the more their word counts
NO_RANKS: Ranks = {}
LOWEST = 1 << 30


def verdict(
    held: tuple[int, int, object], new: tuple[int, int, object], ranks: Ranks = NO_RANKS
) -> tuple[str, bool]:
    """The rule that two labels of a transaction meet, and whether the new one stands.

    Each is (label, labelled_at, source). Who labelled may correct himself; of two who disagree the
    one of the higher rank stands, of equal ranks the later one, and at equal times the one that was
    there. The same label from a higher rank stands in the other's place.
    """
    rank, before = ranks.get(new[2], LOWEST), ranks.get(held[2], LOWEST)
    if new[0] == held[0]:
        return ("confirmed", True) if rank < before else ("duplicate", False)
    if new[2] != held[2]:
        return "conflict", rank < before or (rank == before and new[1] > held[1])
    return ("corrected", True) if new[1] >= held[1] else ("outdated", False)


class EarlyLabels:
    """By id hash, in the order of their last change; at the budget the first of them gives way."""

    def __init__(self, max_rows: int, counts: Counter[str], ranks: Ranks = NO_RANKS) -> None:
        self._ranks = ranks
        self._budget = max(_FEWEST, max_rows // _SHARE)
        self._counts = counts
        self._waiting: OrderedDict[int, Early] = OrderedDict()
        # (labelled_at, hash), earliest first; may name labels that have left or were replaced.
        self._due: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Early]:
        return iter(self._waiting.values())

    def wait(self, key: int, early: Early) -> list[Change]:
        """Let a label wait, beside the one of its id that may wait already."""
        held = self._waiting.get(key)
        if held is None:
            self._counts["early"] += 1
        else:
            rule, stands = verdict(
                (held.is_fraud, held.labelled_at, held.source),
                (early.is_fraud, early.labelled_at, early.source),
                self._ranks,
            )
            self._counts[rule] += 1
            if not stands:
                return []
        self.hold(key, early)
        changes: list[Change] = [(early.id.encode(), early_value(early))]
        if len(self._waiting) > self._budget:
            _, first = self._waiting.popitem(last=False)
            self._counts["early_dropped"] += 1
            changes.append((first.id.encode(), None))
        return changes

    def meet(self, hashes: Hashes) -> dict[int, Early]:
        """Take out the labels of these ids, each by where its id stands first in `hashes`."""
        if not self._waiting:
            return {}
        keys = hashes.tolist()
        if self._waiting.keys().isdisjoint(keys):
            return {}
        met = ((row, self._waiting.pop(key, None)) for row, key in enumerate(keys))
        return {row: early for row, early in met if early is not None}

    def overdue(self, clock: int) -> list[Change]:
        """Drop the labels whose transaction should have come."""
        changes: list[Change] = []
        while self._due and self._due[0][0] + PATIENCE_MS < clock:
            labelled_at, key = heapq.heappop(self._due)
            early = self._waiting.get(key)
            if early is not None and early.labelled_at == labelled_at:
                del self._waiting[key]
                self._counts["orphan"] += 1
                changes.append((early.id.encode(), None))
        return changes

    def outside(self, limit: int) -> list[Change]:
        """Drop the labels whose transactions are not kept any more."""
        gone = [key for key in self._waiting if key > limit]
        if gone:
            self._counts["unsampled"] += len(gone)
        return [(self._waiting.pop(key).id.encode(), None) for key in gone]

    def hold(self, key: int, early: Early) -> None:
        """Let a label wait, the last in order, whatever waited under its id."""
        self._waiting.pop(key, None)
        self._waiting[key] = early
        if len(self._due) > 2 * len(self._waiting) + _STALE:
            self._due = [(other.labelled_at, at) for at, other in self._waiting.items()]
            heapq.heapify(self._due)
        else:
            heapq.heappush(self._due, (early.labelled_at, key))


def as_labels(partition: int, early: Sequence[Early]) -> Labels:
    """The same labels in columns."""
    return Labels(
        partition,
        [label.id for label in early],
        np.array([label.labelled_at for label in early], np.int64),
        np.array([label.is_fraud for label in early], np.int8),
        [label.source for label in early],
        np.zeros(len(early), np.int64),
        np.array([label.propensity for label in early], np.float64),
    )
