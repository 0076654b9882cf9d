"""Logistic regression around the frozen model's log odds, whole, by Newton steps.

Few numbers, learnt from few labels, with no rate and no epochs. A ridge pulls to "the frozen log
odds alone"; how hard is what the evidence says.

Source: MacKay, "The evidence framework applied to classification networks" (1992).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from consumer.columns import Float64
from consumer.experts.base import Base, Fitted, Learning, State, View

FAR_SD = 5.0  # features are clipped there: a square of more would outweigh everything
RIDGES = (0.5, 4.0, 32.0, 256.0, 4096.0)
RIDGE_FROZEN, RIDGE_BIAS = 2.0, 0.5
# Rows up to which each is judged by a fit that did not see it; beyond, a held quarter is enough.
FOLDED_ROWS, FOLDS = 1_500, 4


@dataclass(frozen=True, slots=True)
class Problem:
    """Rows of a regression and what they are pulled to."""

    design: Float64  # (rows, weights): frozen log odds, features, squares, 1
    y: Float64  # (rows,)
    weight: Float64  # (rows,)

    @property
    def prior(self) -> Float64:
        """The frozen log odds alone, (weights,)."""
        prior = np.zeros(self.design.shape[1])
        prior[0] = 1.0
        return prior

    def ridge(self, of_features: float, of_squares: float) -> Float64:
        """(weights,)."""
        d = (self.design.shape[1] - 2) // 2
        parts = [[RIDGE_FROZEN], [of_features] * d, [of_squares] * d, [RIDGE_BIAS]]
        return np.concatenate([np.asarray(part) for part in parts])


@dataclass(frozen=True, slots=True)
class Solution:
    """The weights of least penalised loss, their uncertainty, and the evidence for the ridge."""

    weights: Float64  # (weights,)
    ridge: Float64  # (weights,)
    hessian: Float64  # (weights, weights)
    evidence: float


class Design:
    """The columns of the regression."""

    def __init__(self, mean: Sequence[float], sd: Sequence[float]) -> None:
        self._mean = torch.tensor(mean, dtype=torch.float32)
        self._sd = torch.tensor(sd, dtype=torch.float32)
        self.width = 2 * len(mean) + 2

    def __call__(self, view: View) -> Tensor:
        """(rows, 2 d + 2): frozen log odds, features in sd, their squares less 1, and 1."""
        z = ((view.x - self._mean) / self._sd).clamp(-FAR_SD, FAR_SD)
        return torch.cat([view.frozen[:, None], z, z * z - 1, torch.ones(len(z), 1)], dim=1)


def solve(problem: Problem, ridge: Float64, start: Float64) -> Solution:
    """Damped Newton steps from `start: (weights,)`."""
    design, y, weight, prior = problem.design, problem.y, problem.weight, problem.prior

    def loss(w: Float64) -> float:
        z = design @ w
        return float((weight * (np.logaddexp(0, z) - y * z)).sum() + 0.5 * ridge @ (w - prior) ** 2)

    def curvature(w: Float64) -> tuple[Float64, Float64]:
        p = 1 / (1 + np.exp(-np.clip(design @ w, -30, 30)))
        gradient = design.T @ (weight * (p - y)) + ridge * (w - prior)
        inner = (design * (weight * p * (1 - p))[:, None]).T @ design
        return gradient, inner + np.diag(ridge)

    at, now = start, loss(start)
    for _ in range(20):
        gradient, hessian = curvature(at)
        step = np.linalg.solve(hessian, gradient)
        after = loss(at - step)
        while after > now and np.abs(step).max() > 1e-6:
            step = step / 2
            after = loss(at - step)
        if after > now:
            break
        at, before, now = at - step, now, after
        if before - now < 1e-6 * max(1.0, now):
            break
    _, hessian = curvature(at)
    evidence = -now + 0.5 * float(np.log(ridge).sum()) - 0.5 * float(np.linalg.slogdet(hessian)[1])
    return Solution(at, ridge, hessian, evidence)


def most_evident(problem: Problem) -> Solution:
    """One ridge for the features and one, no smaller, for their squares."""
    at, best = problem.prior, None
    for of_features in RIDGES:
        for of_squares in RIDGES:
            if of_squares >= of_features:
                found = solve(problem, problem.ridge(of_features, of_squares), at)
                at = found.weights
                if best is None or found.evidence > best.evidence:
                    best = found
    assert best is not None
    return best


def fit(
    design: Design,
    base: Base,
    rows: Learning,
    learn: Callable[[Problem], State],
    logit: Callable[[State, View], Tensor],
) -> Fitted:
    """Learn, and judge each row by what was learnt without it."""
    view = View.of(base, rows.x)
    with torch.no_grad():
        columns = design(view).double().numpy()
    y, weight = rows.y.astype(np.float64), rows.weight.astype(np.float64)

    def without(left_out: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> State:
        kept = ~left_out
        return learn(Problem(columns[kept], y[kept], weight[kept]))

    if len(rows) > FOLDED_ROWS:
        state = without(rows.held)
        parts = [(rows.held, state)]
    else:
        fold = np.arange(len(rows)) % FOLDS
        parts = [(fold == one, without(fold == one)) for one in range(FOLDS)]
        state = without(np.zeros(len(rows), bool))
    judged = np.concatenate([np.flatnonzero(chosen) for chosen, _ in parts])
    with torch.no_grad():
        found = [
            logit(one, View(base, view.x[torch.from_numpy(chosen)])).numpy()
            for chosen, one in parts
        ]
    return Fitted(state, judged, np.concatenate(found))
