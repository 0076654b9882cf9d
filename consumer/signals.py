"""Signals that need no label: moved feature means, and conflicts between rules and model."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from consumer.columns import Float32, Float64
from consumer.rules import Rules


class Fidi:
    """Feature-based input distribution inspection: how far have the means moved?

    z of a feature = |mean of the last `window` batch means − mu| / sigma, with mu and sigma of the
    training rows; 0 before `warmup` batches were seen.

    Source: the published experiment, "Self-Healing Neural Networks in PyTorch" (2026).

    >>> fidi = Fidi(["V14"], [0], mu=[0.0], sigma=[2.0], window=10, warmup=1)
    >>> fidi.take(np.full((100, 1), -3.0, dtype=np.float32))
    >>> fidi.end()
    {'V14': 1.5}
    """

    def __init__(
        self,
        features: Sequence[str],
        columns: Sequence[int],
        mu: Sequence[float],
        sigma: Sequence[float],
        *,
        window: int,
        warmup: int,
    ) -> None:
        self._features = tuple(features)
        self._columns = list(columns)
        self._mu: Float64 = np.asarray(mu, dtype=np.float64)
        self._sigma: Float64 = np.asarray(sigma, dtype=np.float64)
        self._means: deque[Float64] = deque(maxlen=window)
        self._warmup = warmup
        self._batches = 0
        self._sum: Float64 = np.zeros(len(self._columns))  # over the rows of the batch so far
        self._rows = 0

    def take(self, x: Float32) -> None:
        """Count rows `x: (rows, features)` into the batch; in what chunks makes no difference."""
        watched = x[:, self._columns].astype(np.float64)
        # Row after row: numpy's sum adds in pairs, and its last bit would depend on the chunks.
        self._sum = np.cumsum(np.vstack([self._sum, watched]), axis=0)[-1]
        self._rows += len(x)

    def end(self) -> dict[str, float]:
        """End the batch; the z of each watched feature."""
        self._means.append(self._sum / self._rows)
        self._sum, self._rows = np.zeros(len(self._columns)), 0
        self._batches += 1
        if self._batches < self._warmup:
            return dict.fromkeys(self._features, 0.0)
        z = np.abs(np.mean(self._means, axis=0) - self._mu) / self._sigma
        return dict(zip(self._features, z.tolist(), strict=True))

    def state(self) -> dict[str, Any]:
        """What a restart needs."""
        return {
            "means": [mean.tolist() for mean in self._means],
            "batches": self._batches,
            "sum": self._sum.tolist(),
            "rows": self._rows,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of the same features."""
        self._means.extend(np.array(mean, np.float64) for mean in state["means"])
        self._batches = state["batches"]
        self._sum, self._rows = np.array(state["sum"], np.float64), state["rows"]


@dataclass(frozen=True, slots=True)
class Conflicts:
    """Rows of a batch where a rule says fraud and the model is sure of the opposite."""

    rows: int = 0
    by_rule: dict[str, int] = field(default_factory=dict)  # a row counts for each that fires on it
    heaviest: dict[str, int] = field(default_factory=dict)  # and here for the heaviest of them

    def __add__(self, more: Conflicts) -> Conflicts:
        return Conflicts(
            self.rows + more.rows,
            _sum(self.by_rule, more.by_rule),
            _sum(self.heaviest, more.heaviest),
        )


def _sum(one: dict[str, int], more: dict[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + more.get(name, 0) for name in {**one, **more}}


def conflicts(rules: Rules, x: Float32, score: Float32, probability: float) -> Conflicts:
    """Count the rows of `x: (rows, features)` with a rule fired and `score` below `probability`."""
    if not rules.rules:
        return Conflicts()
    against = rules.fired(x) & (score < np.float32(probability))[:, None]  # (rows, rules)
    names = [rule.name for rule in rules.rules]
    rows = int(against.any(axis=1).sum())
    heaviest = {}
    if rows:
        of = rules.heaviest(against)
        heaviest = dict(zip(names, np.bincount(of[of >= 0], minlength=len(names)), strict=True))
    return Conflicts(
        rows,
        dict(zip(names, against.sum(axis=0).tolist(), strict=True)),
        {name: int(count) for name, count in heaviest.items() if count},
    )


@dataclass(frozen=True, slots=True)
class Signal:
    """What one monitor batch said."""

    fidi: dict[str, float]
    conflicts: Conflicts
    reasons: tuple[str, ...]

    @property
    def z(self) -> float:
        """The largest z over the watched features."""
        return max(self.fidi.values(), default=0.0)

    @property
    def alarm(self) -> bool:
        """Is there a reason for an alarm?"""
        return bool(self.reasons)


def judge(
    fidi: dict[str, float],
    found: Conflicts,
    weight: float,
    *,
    z_threshold: float,
    conflict_threshold: float,
) -> Signal:
    """Name the reasons for an alarm, the farthest feature first.

    `weight`: of the rows in conflict.
    """
    reasons = [
        f"fidi {feature} z {z:.2f} > {z_threshold:.2f}"
        for feature, z in sorted(fidi.items(), key=lambda item: -item[1])
        if z > z_threshold
    ]
    if weight >= conflict_threshold:
        weighed = "" if weight == found.rows else f" of weight {weight:g}"
        reasons.append(f"{found.rows} conflicts{weighed} >= {conflict_threshold:g}")
    return Signal(fidi, found, tuple(reasons))
