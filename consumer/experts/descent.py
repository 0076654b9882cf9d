"""Learning by gradient: Adam, and where to stop; then calibration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from numpy.typing import NDArray
from torch import Tensor

from consumer.columns import Float64
from consumer.experts.base import Learning, State

# Rows that calibration is fitted on: the newest, until enough are fraud, and held ones where there
# are enough of them.
PLATT_ROWS, PLATT_FRAUDS, PLATT_HELD = 600, 90, 60
PLATT_RIDGE, LEAST_SLOPE = 8.0, 0.02
# Adam's.
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8

Numbers = dict[str, Tensor]
Loss = Callable[[Numbers, Tensor], Tensor]


def uncalibrated(state: State) -> Numbers:
    """What descends: slope and bias are fitted after it."""
    return {name: t for name, t in state.items() if name not in ("slope", "bias")}


def cross_entropy(rows: Learning, logit: Callable[[Numbers, Tensor], Tensor]) -> Loss:
    """Its weighed mean over some of the rows; `logit(numbers, indices)`: log odds of those."""
    y, weight = torch.from_numpy(rows.y), torch.from_numpy(rows.weight)

    def loss(numbers: Numbers, some: Tensor) -> Tensor:
        found = logit(numbers, some)
        return F.binary_cross_entropy_with_logits(found, y[some], weight[some])

    return loss


@dataclass(frozen=True, slots=True)
class Early:
    """Stop early: after `patience` looks at the held rows without a gain, one every so many steps.

    What was best on them is kept.
    """

    held: NDArray[np.bool_]  # (rows,)
    every: int
    patience: int


def descend(
    start: Numbers,
    loss: Loss,
    train: NDArray[np.bool_],
    *,
    rate: float,
    batch: int,
    steps: int,
    seed: int,
    early: Early | None = None,
) -> Numbers:
    """Adam on the rows `train: (rows,)`; `loss(numbers, indices)`: mean loss of those rows.

    Unless it stops early it goes to the end, at a rate that falls to 0, linearly.

    Source: Kingma and Ba, "Adam" (2015). Its step is written out: torch.optim imports torch's
    compiler, seconds of work for a thread of the lowest priority.
    """
    among = torch.from_numpy(np.flatnonzero(train))
    numbers = {name: p.clone().requires_grad_(True) for name, p in start.items()}
    first = {name: torch.zeros_like(p) for name, p in start.items()}
    second = {name: torch.zeros_like(p) for name, p in start.items()}
    generator = torch.Generator().manual_seed(seed)
    watched = among
    if early is not None and early.held.any():
        watched = torch.from_numpy(np.flatnonzero(early.held))

    def look() -> float:
        with torch.no_grad():
            return float(loss(numbers, watched))

    def copy() -> Numbers:
        return {name: p.detach().clone() for name, p in numbers.items()}

    best, found, since = (look() if early else 0.0), copy(), 0
    order = torch.empty(0, dtype=torch.long)
    for step in range(1, steps + 1):
        if len(order) < min(batch, len(among)):
            order = torch.randperm(len(among), generator=generator)
        some, order = among[order[:batch]], order[batch:]
        gradients = torch.autograd.grad(loss(numbers, some), list(numbers.values()))
        slope = rate if early else rate * (1 - (step - 1) / steps)
        with torch.no_grad():
            for (name, p), gradient in zip(numbers.items(), gradients, strict=True):
                first[name].lerp_(gradient, 1 - BETA1)
                second[name].lerp_(gradient * gradient, 1 - BETA2)
                size = (second[name] / (1 - BETA2**step)).sqrt_() + EPSILON
                p -= slope * first[name] / (1 - BETA1**step) / size
        if early and step % early.every == 0:
            now = look()
            if now < best:
                best, found, since = now, copy(), 0
            else:
                since += 1
                if since >= early.patience:
                    break
    return found if early else copy()


def calibrated(logit: Tensor, rows: Learning) -> tuple[Tensor, Tensor]:
    """Slope and bias for log odds `logit: (rows,)`, of held rows where there are enough of them."""
    held = rows.held
    among = held if held.sum() >= PLATT_HELD else np.ones(len(rows), bool)
    return calibrated_on(logit, rows, among)


def calibrated_on(logit: Tensor, rows: Learning, among: NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
    """Slope and bias for log odds `logit: (rows,)`, of the newest of the rows `among: (rows,)`."""
    at = np.flatnonzero(among)
    frauds = np.cumsum(rows.y[at][::-1])
    enough = int(np.searchsorted(frauds, PLATT_FRAUDS)) + 1
    at = at[-max(PLATT_ROWS, enough) :]
    given = (logit.numpy()[at], rows.y[at], rows.weight[at])
    slope, bias = platt(*(each.astype(np.float64) for each in given))
    return torch.tensor(slope, dtype=torch.float32), torch.tensor(bias, dtype=torch.float32)


def platt(logit: Float64, y: Float64, weight: Float64) -> tuple[float, float]:
    """Slope and bias by Newton steps, pulled to 1 and 0 by a ridge; the slope stays positive.

    Source: Platt, "Probabilistic outputs for support vector machines" (1999).
    """
    prior = np.array([1.0, 0.0])
    at = prior
    design = np.column_stack([logit, np.ones_like(logit)])
    for _ in range(25):
        p = 1 / (1 + np.exp(-np.clip(design @ at, -30, 30)))
        gradient = design.T @ (weight * (p - y)) + PLATT_RIDGE * (at - prior)
        hessian = (design * (weight * p * (1 - p))[:, None]).T @ design + PLATT_RIDGE * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        far = float(np.abs(step).max())
        at = at - step * min(1.0, 1.0 / max(far, 1e-12))
        if far < 1e-7:
            break
    return max(LEAST_SLOPE, float(at[0])), float(at[1])
