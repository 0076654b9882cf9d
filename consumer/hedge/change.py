"""When did the stream change? On the means of its features, and on the loss where labels tell.

Both compare the last few batches with all before them since the last change.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consumer.columns import Float64
from consumer.reference import as_skewed

BEFORE = 5  # batches, at least
# Standard errors, by the number of last batches, most first: a step shows in few, a small change in
# many.
FEATURES_SE = {10: 4.5, 6: 4.5, 3: 4.5, 2: 5.0, 1: 5.5}
LOSS_LAST, LOSS_SE = 3, 4.75
UNREST_ROWS, UNREST_MARGIN = 100, 1.25
TRAINED_BATCHES = 10  # that training's variance counts as much as
LEAST_LOSS_SD = 0.02
LEAST_ROWS = 9  # of parts of batches: the mean of fewer may be anything
LEARNING = 3  # means of the loss after a change
LOSS_ROWS, LOSS_FRAUDS = 50, 5  # labelled, whose mean loss is compared with those before


@dataclass(frozen=True, slots=True)
class Change:
    """It began `batches` ago, the newest one included; 0: only the time is known."""

    batches: int
    why: Sequence[str]
    raised: Mapping[str, float] = field(default_factory=dict)  # by feature: z in limits


class _History:
    """Batches since the last change: the newest ones, and sums over those before.

    Each weighs one, and a part of a batch its share.
    """

    def __init__(self, newest: int) -> None:
        self._newest = newest  # how many are kept
        self._last: list[tuple[Any, Any]] = []  # weight, value
        self._count: int  # of those before
        self._sums: Any  # of their weights, of their values, and of the squares of these
        self._before: tuple[Any, Any]  # the newest of them
        self._jumps: Any  # half the squared differences of neighbours: no trend raises them
        self.cut(0)

    def add(self, value: Any, weight: Any = 1.0) -> None:
        """The newest batch."""
        self._last.append((weight, value))
        if len(self._last) > self._newest:
            weight, value = self._last.pop(0)
            if self._count:
                its, before = self._before
                self._jumps = self._jumps + (value - before) ** 2 / (1 / weight + 1 / its)
            self._count += 1
            self._sums = self._with(self._sums, [(weight, value)])
            self._before = weight, value

    @staticmethod
    def _with(sums: Any, more: Sequence[tuple[Any, Any]]) -> Any:
        weights, values, squares = sums
        for weight, value in more:
            weights = weights + weight
            values = values + weight * value
            squares = squares + weight * value**2
        return weights, values, squares

    def before(self, batches: int) -> tuple[Any, Any, Any]:
        """Of all but the last so many: their weight, their sum, and that of their squares."""
        return self._with(self._sums, self._last[:-batches])  # type: ignore[no-any-return]

    def windows(self, sizes: Iterable[int]) -> Iterator[tuple[int, Any, Any, Any, Any]]:
        """Each of `sizes`, which fall: it, weight and sum of all before the last so many, theirs.

        The sums before are those of `before`, each made of the one for the size above.
        """
        terms = [(weight, weight * value) for weight, value in self._last]
        before, total, _ = self._sums
        start = 0
        for batches in sizes:
            stop = max(0, len(terms) - batches)
            for weight, value in terms[start:stop]:
                before, total = before + weight, total + value
            start, its, sum_ = stop, 0.0, 0.0
            for weight, value in terms[stop:]:
                its, sum_ = its + weight, sum_ + value
            yield batches, before, total, its, sum_

    def cut(self, batches: int) -> None:
        """Only the last so many are left."""
        self._last = self._last[-batches:] if batches else []
        self._count = 0
        self._sums, self._before, self._jumps = (0.0, 0.0, 0.0), (0.0, 0.0), 0.0

    def variance(self, trained: Float64) -> Float64:
        """Of a batch's mean: as trained, or more where the batches say so."""
        neighbours = max(0, self._count - 1)
        pooled = (TRAINED_BATCHES * trained + self._jumps) / (TRAINED_BATCHES + neighbours)
        found: Float64 = np.maximum(trained, pooled)
        return found

    def state(self) -> dict[str, Any]:
        """What a restart needs."""
        return {
            "last": [_plain(each) for each in self._last],
            "count": self._count,
            "sums": _plain(self._sums),
            "before": _plain(self._before),
            "jumps": np.asarray(self._jumps).tolist(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._last = [_arrays(each) for each in state["last"]]
        self._count = state["count"]
        self._sums, self._before = _arrays(state["sums"]), _arrays(state["before"])
        self._jumps = np.asarray(state["jumps"], np.float64)


def _plain(several: Sequence[Any]) -> list[Any]:
    return [np.asarray(each).tolist() for each in several]


def _arrays(several: Sequence[Any]) -> Any:
    return tuple(np.asarray(each, np.float64) for each in several)


class FeatureChange:
    """Means of features, in standard errors of training's sd."""

    def __init__(
        self,
        features: Sequence[str],
        sd: Sequence[float],
        unrest: Sequence[float] = (),
        skewness: Sequence[float] = (),
    ) -> None:
        """`unrest`: by how much less each feature tells than its sd says; nothing: by none.

        `skewness`: of each feature; nothing: none has any.
        """
        self._features = list(features)
        self._sd: Float64 = np.asarray(sd, np.float64)
        self._unrest: Float64 = np.asarray(unrest or np.ones(len(sd)), np.float64)
        self._skewness: Float64 = np.asarray(skewness or np.zeros(len(sd)), np.float64)
        self._history = _History(max(FEATURES_SE))
        self._rows: Float64 | float = 0.0  # a batch, in the mean
        self._batches = 0

    def add(self, mean: Float64, rows: Float64 | int, *, part: bool = False) -> Change | None:
        """A batch with `mean: (features,)`, of `rows` each; the change it shows, if any.

        `part`: it is less than a batch, and weighs its share of one.
        """
        strongest: tuple[float, Change] | None = None
        for batches, z, limit in self.compare(mean, rows, part=part):
            far = np.abs(z) / limit
            if not (far > self._unrest).any():
                continue
            order = [int(n) for n in np.argsort(-np.abs(z)) if far[n] > self._unrest[n]]
            if strongest is not None and abs(z[order[0]]) <= strongest[0]:
                continue
            names = self._features
            told = [f"mean of {names[n]} moved by {z[n]:+.1f} standard errors" for n in order]
            raised = {names[n]: float(far[n]) for n in order}
            strongest = (abs(float(z[order[0]])), Change(batches, told, raised))
        return strongest[1] if strongest else None

    def compare(
        self, mean: Float64, rows: Float64 | int, *, part: bool = False
    ) -> Iterator[tuple[int, Float64, Float64]]:
        """Take a batch; how many last ones, z and the limit for its size, both (features,)."""
        if part and np.min(self._rows) > 0:
            self._history.add(mean, np.minimum(1.0, rows / self._rows))
        else:
            self._history.add(mean)
            self._batches += 1
            self._rows = self._rows + (rows - self._rows) / self._batches
        variance = self._history.variance(self._sd**2 / self._rows)
        for batches, before, total, weight, last in self._history.windows(FEATURES_SE):
            if np.min(before) < BEFORE:
                continue
            if np.min(weight) < 1 and np.min(weight * self._rows) < LEAST_ROWS:
                continue
            error = np.sqrt(variance * (1 / weight + 1 / before))
            z = (last / weight - total / before) / error
            skewed = np.sign(z) * self._skewness / np.sqrt(weight * self._rows)
            yield batches, z, as_skewed(FEATURES_SE[batches], skewed)

    def suppress(self, raised: Mapping[str, float]) -> None:
        """These alarms were none: ask for a quarter more of these features from now on."""
        for name, far in raised.items():
            n = self._features.index(name)
            self._unrest[n] = max(self._unrest[n], UNREST_MARGIN * far)

    def cut(self, batches: int) -> None:
        """A change began so many batches ago."""
        self._history.cut(batches)
        self._batches = 0

    def state(self) -> dict[str, Any]:
        """What a restart needs."""
        return {
            "history": self._history.state(),
            "rows": np.asarray(self._rows).tolist(),
            "batches": self._batches,
            "unrest": self._unrest.tolist(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._history.load(state["history"])
        self._rows, self._batches = np.asarray(state["rows"], np.float64), state["batches"]
        self._unrest = np.asarray(state["unrest"], np.float64)


def skewness(x: NDArray[np.floating[Any]]) -> list[float]:
    """Third standardised moment of each column of `x: (rows, columns)`; 0 of a constant one."""
    sd = x.std(axis=0)
    z = (x - x.mean(axis=0)) / np.where(sd > 0, sd, 1.0)
    return [float(each) for each in (z**3).mean(axis=0).round(3)]


def unrest(
    x: NDArray[np.floating[Any]], sd: Float64, skewness: Sequence[float] = ()
) -> list[float]:
    """How restless each feature is by nature, in what would be said to be a change; at least 1.

    `x: (rows, features)`, training rows in the order of time: days and nights, weekends. A change
    is something that training did not see, by a quarter more.
    """
    watch = FeatureChange([""] * x.shape[1], sd.tolist(), skewness=skewness)
    worst = np.zeros(x.shape[1])
    for start in range(0, len(x) - UNREST_ROWS + 1, UNREST_ROWS):
        part = x[start : start + UNREST_ROWS]
        for _, z, limit in watch.compare(part.mean(axis=0, dtype=np.float64), len(part)):
            worst = np.maximum(worst, np.abs(z) / limit)
    return [float(each) for each in np.maximum(1.0, UNREST_MARGIN * worst).round(3)]


def _as_normal(t: float, count: int) -> float:
    """As unlikely a normal deviate: of few values the standard deviation is not known well.

    Source: Wallace, "Bounds on normal approximations to Student's and the chi-square
    distributions" (1959).
    """
    df = count - 1
    return math.copysign((8 * df + 1) / (8 * df + 3) * math.sqrt(df * math.log1p(t**2 / df)), t)


class LossChange:
    """Mean loss of the mixture on labelled rows, upwards only."""

    def __init__(self) -> None:
        self._history = _History(LOSS_LAST)
        self._learning = 0  # means to come that say more of learning than of the stream

    def add(self, loss: float) -> Change | None:
        """A labelled batch's mean loss; the change it shows, if any."""
        if self._learning:
            self._learning -= 1
            return None
        self._history.add(np.float64(loss))
        before, total, squares = self._history.before(LOSS_LAST)
        if before < BEFORE:
            return None
        mean = total / before
        variance = float(squares / before - mean**2) * before / (before - 1)
        for batches, _, _, weight, last in self._history.windows(range(LOSS_LAST, 0, -1)):
            error = np.sqrt(max(variance, LEAST_LOSS_SD**2) * (1 / batches + 1 / before))
            z = _as_normal(float((last / weight - mean) / error), before)
            if z > LOSS_SE:
                return Change(0, [f"labelled loss rose by {z:.1f} standard errors"])
        return None

    def cut(self) -> None:
        """A change was found: forget what was before, and pass over what is learnt first."""
        self._history.cut(0)
        self._learning = LEARNING

    def state(self) -> dict[str, Any]:
        """What a restart needs."""
        return {"history": self._history.state(), "learning": self._learning}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._history.load(state["history"])
        self._learning = state["learning"]


class LabelledLoss:
    """Labelled rows, so many together that their mean loss says something."""

    def __init__(self) -> None:
        self._change = LossChange()
        self._waiting: list[Sequence[float]] = []  # mean, rows, frauds, first event time

    def add(self, mean: float, rows: int, frauds: int, first_ms: int) -> tuple[int, Change] | None:
        """The mean loss of labelled rows; the change it shows, and since when."""
        self._waiting.append((mean, rows, frauds, first_ms))
        means, counts, fraud_counts, firsts = zip(*self._waiting, strict=True)
        if sum(counts) < LOSS_ROWS or sum(fraud_counts) < LOSS_FRAUDS:
            return None
        self._waiting = []
        change = self._change.add(float(np.average(means, weights=counts)))
        return None if change is None else (int(min(firsts)), change)

    def cut(self) -> None:
        """A change was found: forget what was before."""
        self._change.cut()
        self._waiting = []

    def state(self) -> dict[str, Any]:
        """What a restart needs."""
        return {"change": self._change.state(), "waiting": self._waiting}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._change.load(state["change"])
        self._waiting = list(state["waiting"])
