"""The same regression where only a few features matter: from a handful of labels.

Each weight has a ridge of its own, as its evidence says, and predictions are moderated by how
uncertain the weights are.

Source: Tipping, "Sparse Bayesian learning and the relevance vector machine" (2001); MacKay (1992)
for the moderated output.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from consumer.experts.base import Base, Fitted, Learning, Memory, State, View
from consumer.experts.newton import (
    RIDGE_BIAS,
    RIDGE_FROZEN,
    Design,
    Problem,
    fit,
    most_evident,
    solve,
)

ROUNDS = 10
LEAST_RIDGE, MOST_RIDGE = 0.5, 1e5


class Sparse:
    """Weights and their covariance: 2 d + 2 numbers, and as many squared."""

    name = "sparse"
    learns_from: Memory = "regime"

    def __init__(self, mean: Sequence[float], sd: Sequence[float]) -> None:
        self._design = Design(mean, sd)

    def cold(self, base: Base) -> State:
        """The frozen log odds alone, and sure of it."""
        width = self._design.width
        weights = torch.zeros(width)
        weights[0] = 1.0
        return {"weights": weights, "covariance": torch.zeros(width, width)}

    def logit(self, state: State, view: View) -> Tensor:
        """Moderated log odds of fraud, (rows,)."""
        design = self._design(view)
        variance = ((design @ state["covariance"]) * design).sum(dim=1)
        return design @ state["weights"] / torch.sqrt(1 + math.pi * variance / 8)

    def fit(self, base: Base, start: State, rows: Learning, seed: int) -> Fitted:
        """Begins with the best common ridges, then lets each go its own way."""
        return fit(self._design, base, rows, _learn, self.logit)


def _learn(problem: Problem) -> State:
    found = most_evident(problem)
    prior = problem.prior
    for _ in range(ROUNDS):
        covariance = np.linalg.inv(found.hessian)
        known = np.clip(1 - found.ridge * np.diag(covariance), 1e-3, 1.0)
        wanted = known / np.maximum((found.weights - prior) ** 2, 1e-12)
        wanted = np.clip(wanted, LEAST_RIDGE, MOST_RIDGE)
        wanted[0] = min(wanted[0], RIDGE_FROZEN)
        wanted[-1] = min(wanted[-1], RIDGE_BIAS)
        found = solve(problem, np.sqrt(found.ridge * wanted), found.weights)
    covariance = np.linalg.inv(found.hessian)
    return {
        "weights": torch.from_numpy(found.weights.astype(np.float32)),
        "covariance": torch.from_numpy(covariance.astype(np.float32)),
    }
