"""A regression over all features alike: what the frozen model has come to miss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from consumer.experts.base import Base, Fitted, Learning, Memory, State, View
from consumer.experts.newton import Design, Problem, fit, most_evident


class Residual:
    """`a * frozen + w . z + v . (z^2 - 1) + b`: 2 d + 2 numbers, two ridges."""

    name = "residual"
    learns_from: Memory = "regime"

    def __init__(self, mean: Sequence[float], sd: Sequence[float]) -> None:
        self._design = Design(mean, sd)

    def cold(self, base: Base) -> State:
        """The frozen log odds alone."""
        weights = torch.zeros(self._design.width)
        weights[0] = 1.0
        return {"weights": weights}

    def logit(self, state: State, view: View) -> Tensor:
        """Log odds of fraud, (rows,)."""
        return self._design(view) @ state["weights"]

    def fit(self, base: Base, start: State, rows: Learning, seed: int) -> Fitted:
        """The ridges with the most evidence, over all rows at once."""
        return fit(self._design, base, rows, _learn, self.logit)


def _learn(problem: Problem) -> State:
    return {"weights": torch.from_numpy(most_evident(problem).weights.astype(np.float32))}
