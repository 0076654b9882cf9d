"""Signals that need no label: moved feature means, and conflicts between rules and model."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from consumer.columns import Float32, Float64
from consumer.rules import Rules


class Fidi:
    """Feature-based input distribution inspection: how far have the means moved?

    z of a feature = |mean of the last `window` batch means − mu| / sigma, with mu and sigma of the
    training rows; 0 before `warmup` batches were seen.

    Source: the published experiment, "Self-Healing Neural Networks in PyTorch" (2026).

    >>> fidi = Fidi(["V14"], [0], mu=[0.0], sigma=[2.0], window=10, warmup=1)
    >>> fidi.update(np.full((100, 1), -3.0, dtype=np.float32))
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

    def update(self, x: Float32) -> dict[str, float]:
        """Take one batch `x: (rows, features)`; the z of each watched feature."""
        self._means.append(x[:, self._columns].mean(axis=0, dtype=np.float64))
        self._batches += 1
        if self._batches < self._warmup:
            return dict.fromkeys(self._features, 0.0)
        z = np.abs(np.mean(self._means, axis=0) - self._mu) / self._sigma
        return dict(zip(self._features, z.tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class Conflicts:
    """Rows of a batch where a rule says fraud and the model is sure of the opposite."""

    rows: int
    by_rule: dict[str, int] = field(default_factory=dict)


def conflicts(rules: Rules, x: Float32, score: Float32, probability: float) -> Conflicts:
    """Count the rows of `x: (rows, features)` with a rule fired and `score` below `probability`."""
    if not rules.rules:
        return Conflicts(0)
    against = rules.fired(x) & (score < np.float32(probability))[:, None]  # (rows, rules)
    counts = against.sum(axis=0).tolist()
    return Conflicts(
        int(against.any(axis=1).sum()),
        {str(rule): count for rule, count in zip(rules.rules, counts, strict=True)},
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
    fidi: dict[str, float], found: Conflicts, *, z_threshold: float, conflict_threshold: float
) -> Signal:
    """Name the reasons for an alarm, the farthest feature first."""
    reasons = [
        f"fidi {feature} z {z:.2f} > {z_threshold:.2f}"
        for feature, z in sorted(fidi.items(), key=lambda item: -item[1])
        if z > z_threshold
    ]
    if found.rows >= conflict_threshold:
        reasons.append(f"{found.rows} conflicts >= {conflict_threshold:g}")
    return Signal(fidi, found, tuple(reasons))
