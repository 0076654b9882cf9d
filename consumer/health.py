"""Is the healed model getting worse? The published monitor, as published.

Source: the published experiment. Its baseline is whatever the first heal scored, and its figures
are taken on the very rows that were healed on: weak evidence, kept so that its run is reproduced.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the moving means say against the baseline; `reasons` is empty where all is well."""

    baseline_accuracy: float
    baseline_f1: float
    window_accuracy: float
    window_f1: float
    reasons: tuple[str, ...]


class Health:
    """Moving means of accuracy and F1 over labelled batches, against the first heal's."""

    def __init__(self, window: int, min_updates: int) -> None:
        self._accuracy: deque[float] = deque(maxlen=window)
        self._f1: deque[float] = deque(maxlen=window)
        self._min_updates = min_updates
        self._updates = 0
        self._baseline: tuple[float, float] | None = None

    def update(self, accuracy: float, f1: float, *, after_heal: bool) -> None:
        """Take one labelled batch; the first one after a heal becomes the baseline."""
        self._accuracy.append(accuracy)
        self._f1.append(f1)
        self._updates += 1
        if after_heal and self._baseline is None:
            self._baseline = (accuracy, f1)

    def state(self) -> dict[str, Any]:
        """What a restart needs."""
        return {
            "accuracy": list(self._accuracy),
            "f1": list(self._f1),
            "updates": self._updates,
            "baseline": self._baseline,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._accuracy.extend(state["accuracy"])
        self._f1.extend(state["f1"])
        self._updates = state["updates"]
        self._baseline = tuple(state["baseline"]) if state["baseline"] else None

    def check(self, *, f1_drop: float, accuracy_drop: float) -> Verdict | None:
        """Compare with the baseline; None before there are `min_updates` batches and a heal."""
        if self._baseline is None or self._updates < self._min_updates:
            return None
        accuracy, f1 = float(np.mean(self._accuracy)), float(np.mean(self._f1))
        reasons = []
        if self._baseline[1] - f1 > f1_drop:
            reasons.append(f"F1 fell by {self._baseline[1] - f1:.3f} > {f1_drop:.3f}")
        if self._baseline[0] - accuracy > accuracy_drop:
            fell = self._baseline[0] - accuracy
            reasons.append(f"accuracy fell by {fell:.3f} > {accuracy_drop:.3f}")
        return Verdict(*self._baseline, accuracy, f1, tuple(reasons))
