"""Labels of fraud that come sooner than those of other rows: until these are there, none counts.

Chargebacks come within weeks, and that nothing was wrong is known when the weeks are over: what is
labelled of the newest rows is nearly all fraud. Whoever learns of that, or is weighed by it, finds
fraud everywhere; held-out rows say the same. So a row waits until it is as old as it takes for
legitimate rows to be labelled like frauds, as delays so far tell. Where the class makes no
difference to the delay, or fraud is what is known last, nothing waits: a few frauds too little do
less harm than to learn later. (Delayed feedback: Chapelle, Modeling delayed feedback in display
advertising, KDD 2014.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from consumer.columns import Float64, Int64, Labelled
from consumer.hedge.memory import relabelled

BINS_A_DOUBLING = 4  # of the delay
BINS = 42 * BINS_A_DOUBLING  # up to a century and more, in ms
KEPT = 2_000  # labels of a class: older ones count half, and half again
# By how much more of fraud's labels than of the others' may have come by some age: two-sample
# Kolmogorov–Smirnov at p < 1e-5, asked with every batch; and so little does no harm.
KS, AHEAD = 2.5, 0.1
# Before so many legitimate ones nobody knows whether they come later than fraud.
LEAST_LEGIT = 10


class Ripening:
    """Rows that wait, and delays by class."""

    def __init__(self) -> None:
        self.until_ms: int | None = None  # rows up to that event time are counted; None: all
        self._delays: Float64 = np.zeros((2, BINS))  # labels by class and delay
        self._waiting: list[Labelled] = []

    def take(self, rows: Sequence[Labelled], now_ms: int) -> list[Labelled]:
        """Rows whose labels have come; returns those to be counted now, who waited first."""
        for each in rows:
            self._count(each)
        self._waiting += rows
        age_ms = self.age_ms
        if age_ms == 0:
            newest = [int(each.event_time.max()) for each in self._waiting if len(each)]
            until_ms = max(newest, default=None)
        else:
            until_ms = None if age_ms is None else now_ms - age_ms
        if until_ms is not None:
            self.until_ms = until_ms if self.until_ms is None else max(self.until_ms, until_ms)
        elif age_ms is None and self.until_ms is None:
            self.until_ms = -(2**62)
        both = [(each, self._is_ripe(each)) for each in self._waiting]
        self._waiting = [part for each, ripe in both if len(part := each.only(~ripe))]
        return [part for each, ripe in both if len(part := each.only(ripe))]

    @property
    def age_ms(self) -> int | None:
        """How old a row must be; 0: its label is enough, None: nobody knows yet."""
        legit, fraud = self._delays.sum(axis=1)
        if legit < min(LEAST_LEGIT, fraud):
            return None
        if not fraud:
            return 0
        shares = self._delays.cumsum(axis=1) / np.array([[legit], [fraud]])
        limit = max(AHEAD, KS * float(np.sqrt(1 / legit + 1 / fraud)))
        ahead = np.flatnonzero(shares[1] - shares[0] > limit)
        return 0 if not len(ahead) else _upper_ms(int(ahead[-1]) + 1)

    def bring_back(self, rows: Labelled) -> None:
        """After a restart: rows that had come before the last batch ended."""
        waiting = rows.only(~self._is_ripe(rows))
        if len(waiting):
            self._waiting.append(waiting)

    def correct(self, rows: Labelled) -> None:
        """A label has changed its mind."""
        self._waiting = [relabelled(each, rows) for each in self._waiting]

    def drop(self, partition: int) -> None:
        """Another replica has it now."""
        self._waiting = [each for each in self._waiting if each.partition != partition]

    def state(self) -> dict[str, Any]:
        """What `load` needs, but for the rows."""
        kinds, bins = np.nonzero(self._delays)
        counts = self._delays[kinds, bins]
        told = [*map(list, zip(kinds.tolist(), bins.tolist(), counts.tolist(), strict=True))]
        return {"until_ms": self.until_ms, "delays": told}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; rows come back by themselves."""
        self.until_ms = state["until_ms"]
        for kind, at, count in state["delays"]:
            self._delays[kind, at] = count

    def _is_ripe(self, rows: Labelled) -> Any:
        if self.until_ms is None:
            return np.ones(len(rows), bool)
        return rows.event_time <= self.until_ms

    def _count(self, rows: Labelled) -> None:
        at = _bin(rows.labelled_at - rows.event_time)
        for kind in (0, 1):
            mine = np.bincount(at[rows.is_fraud == kind], minlength=BINS)
            self._delays[kind] += mine
            while self._delays[kind].sum() > KEPT:
                self._delays[kind] /= 2


def _bin(delay_ms: Int64) -> Int64:
    """(rows,) Four to a doubling."""
    doublings = np.log2(1.0 + np.maximum(delay_ms, 0))
    found: Int64 = np.minimum(BINS_A_DOUBLING * doublings, BINS - 1).astype(np.int64)
    return found


def _upper_ms(number: int) -> int:
    return int(2 ** ((number + 1) / BINS_A_DOUBLING))
