"""Does a change begin within a monitor batch? Then it is answered there.

Where rows come slowly a batch lasts long, and each of its rows is scored by what was in force
before. So its first rows are looked at by tenths: the means of the newest ones, whose rows are
clipped so that a few far out say little, against the batches before. Where rows come fast a batch
has many more rows than are looked at, and ends by the clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from consumer.columns import Float32, Float64
from consumer.manifest import Reference
from consumer.reference import as_skewed

TENTHS = 10
WINDOWS = (2, 3, 4, 6)  # tenths, the newest
LIMIT_SE = 6.0  # standard errors of training's sd: what shows here is seen as a change then
NEWEST_SE = 3.0  # of each of the two newest tenths by itself: a burst of rows is no change
CLIPPED_SD = 3.0
BEFORE, KNOWN = 5, 10  # batches to compare with: at least, and about how many are remembered
TRAINED = 10  # batches that training's variance counts as much as


class Onset:
    """Of one partition. Of a batch it keeps sums, which `take` makes again of its rows."""

    def __init__(self, reference: Reference, rows: int) -> None:
        """`reference`: what training rows were like; `rows`: of a batch, at least."""
        self._mean: Float64 = np.asarray(reference.mean, np.float64)
        self._sd: Float64 = np.asarray(reference.sd, np.float64)
        self._step = max(1, rows // TENTHS)
        skewness = np.asarray(reference.skewness or [0.0] * len(self._mean), np.float64)
        unrest = np.asarray(reference.unrest or [1.0] * len(self._mean), np.float64)
        # Limits upwards and downwards, (2, features), of each window.
        self._limits = [
            as_skewed(LIMIT_SE, np.stack([skewness, -skewness]) / np.sqrt(width * self._step))
            * unrest
            for width in WINDOWS
        ]
        # Of the batches before: their mean, and the variance of a row by those of their tenths.
        self._known = np.zeros((2, len(self._mean)))
        self._batches = 0
        self._is_cut = False  # this batch; what is left of it is not looked at
        self._begin()

    def _begin(self) -> None:
        self._seen = 0
        self._sum = np.zeros(len(self._mean))
        self._sums = self._sum[None]  # (tenths + 1, features): of the rows up to each tenth's end
        # How many rows of the batch so far come before a change that its last ones show.
        self.begins: int | None = None

    def find(self, x: Float32) -> int | None:
        """How many of the coming rows, `x: (rows, features)`, show a change; None: none does."""
        if self._is_blind or self._seen >= TENTHS * self._step:
            return None
        sums, _ = self._with(x)
        known = len(self._sums)
        ends = np.flatnonzero(self._far(sums)[:, known:].max(axis=0) >= 1)
        return self._step * int(known + ends[0]) - self._seen if len(ends) else None

    def take(self, x: Float32) -> None:
        """Count rows `x: (rows, features)` into the batch; in what chunks makes no difference."""
        if self._is_cut or self._seen >= TENTHS * self._step:
            return
        self._sums, self._sum = self._with(x)
        self._seen += len(x)
        if not self._is_blind and self._seen == self._step * (len(self._sums) - 1):
            far = self._far(self._sums)[:, -1]
            if far.max() >= 1:
                self.begins = self._seen - self._step * WINDOWS[int(far.argmax())]

    def cut(self) -> None:
        """A change was found, or rows are missing: what is left of the batch is not looked at."""
        if self.begins is not None:
            self._batches = 0
        self._is_cut, self.begins = True, None

    def end(self) -> None:
        """The batch has ended."""
        if self.begins is not None:
            self._batches = 0
        elif not self._is_cut:
            self._batches += 1
            tenths = np.diff(self._sums, axis=0) / self._step
            newest = np.stack([tenths.mean(axis=0), tenths.var(axis=0, ddof=1) * self._step])
            self._known = self._known + (newest - self._known) / min(self._batches, KNOWN)
        self._is_cut = False
        self._begin()

    @property
    def _is_blind(self) -> bool:
        return self._is_cut or self._batches < BEFORE

    def _with(self, x: Float32) -> tuple[Float64, Float64]:
        """Sums with more rows, up to each tenth's end and of all."""
        some = (x[: max(0, TENTHS * self._step - self._seen)] - self._mean) / self._sd
        # Row after row: numpy's sum adds in pairs, and its last bit would depend on the chunks.
        sums = np.cumsum(np.vstack([self._sum, some.clip(-CLIPPED_SD, CLIPPED_SD)]), axis=0)
        first = self._step * len(self._sums) - self._seen
        return np.concatenate([self._sums, sums[first :: self._step]]), sums[-1]

    def _far(self, sums: Float64) -> Float64:
        """(windows, tenths + 1): how far each window's farthest mean has moved, in limits."""
        found = np.zeros((len(WINDOWS), len(sums)))
        tenths = self._z(sums, 1) / NEWEST_SE
        if len(tenths) < 2:
            return found
        low = np.minimum(tenths[:-1], tenths[1:])
        high = np.maximum(tenths[:-1], tenths[1:])
        if max(low.max(), -high.min()) < 1:
            return found
        for n, width in enumerate(WINDOWS):
            z, newest = self._z(sums, width), slice(width - 2, None)
            up, down = self._limits[n]
            far = np.maximum(np.minimum(z / up, low[newest]), np.minimum(-z / down, -high[newest]))
            found[n, width:] = far.max(axis=1)
        return found

    def _z(self, sums: Float64, width: int) -> Float64:
        """(ends, features): standard errors by which each window of so many tenths has moved."""
        mean, variance = self._known
        batches = min(self._batches, KNOWN)
        pooled = np.maximum(1.0, (TRAINED + batches * variance) / (TRAINED + batches))
        error = np.sqrt(pooled * (1 / width + 1 / (batches * TENTHS)) / self._step)
        found: Float64 = ((sums[width:] - sums[:-width]) / (width * self._step) - mean) / error
        return found

    def state(self) -> dict[str, Any]:
        """What a restart needs besides the rows of the batch."""
        return {
            "known": self._known.tolist(),
            "batches": self._batches,
            "is_cut": self._is_cut,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; then `take` the rows of the batch, or `cut` it."""
        self._known = np.asarray(state["known"], np.float64)
        self._batches = state["batches"]
        self._is_cut = state["is_cut"]
