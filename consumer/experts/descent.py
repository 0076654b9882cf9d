"""Learning by gradient: Adam with early stopping on held rows, then calibration."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from consumer.columns import Float64
from consumer.experts.base import Learning

# Rows that calibration is fitted on: the newest, until enough are fraud, and held ones where there
# are enough of them.
PLATT_ROWS, PLATT_FRAUDS, PLATT_HELD = 600, 90, 60
PLATT_RIDGE, LEAST_SLOPE = 8.0, 0.02
# Adam's.
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8

Numbers = dict[str, Tensor]


def descend(
    start: Numbers,
    loss: Callable[[Numbers, Tensor], Tensor],
    rows: Learning,
    *,
    rate: float,
    batch: int,
    steps: int,
    every: int | None,
    patience: int,
    seed: int,
    falls: bool = False,
) -> Numbers:
    """Adam on the rows that are not held; the numbers that were best on the held ones.

    `loss(numbers, indices)`: mean loss of those rows. `every`: steps between looks at the held
    rows; after `patience` looks without a gain it ends. None: it goes to the end, and the held rows
    have no part in it. `falls`: the rate does, linearly, to 0.

    Source: Kingma and Ba, "Adam" (2015). Its step is written out: torch.optim imports torch's
    compiler, seconds of work for a thread of the lowest priority.
    """
    train, held = (torch.from_numpy(np.flatnonzero(of)) for of in (~rows.held, rows.held))
    numbers = {name: p.clone().requires_grad_(True) for name, p in start.items()}
    first = {name: torch.zeros_like(p) for name, p in start.items()}
    second = {name: torch.zeros_like(p) for name, p in start.items()}
    generator = torch.Generator().manual_seed(seed)

    def look() -> float:
        with torch.no_grad():
            return float(loss(numbers, held if len(held) else train))

    def copy() -> Numbers:
        return {name: p.detach().clone() for name, p in numbers.items()}

    best, found, since = (look() if every else 0.0), copy(), 0
    order = torch.empty(0, dtype=torch.long)
    for step in range(1, steps + 1):
        if len(order) < min(batch, len(train)):
            order = torch.randperm(len(train), generator=generator)
        some, order = train[order[:batch]], order[batch:]
        gradients = torch.autograd.grad(loss(numbers, some), list(numbers.values()))
        slope = rate * (1 - (step - 1) / steps) if falls else rate
        with torch.no_grad():
            for (name, p), gradient in zip(numbers.items(), gradients, strict=True):
                first[name].lerp_(gradient, 1 - BETA1)
                second[name].lerp_(gradient * gradient, 1 - BETA2)
                size = (second[name] / (1 - BETA2**step)).sqrt_() + EPSILON
                p -= slope * first[name] / (1 - BETA1**step) / size
        if every and step % every == 0:
            now = look()
            if now < best:
                best, found, since = now, copy(), 0
            else:
                since += 1
                if since >= patience:
                    break
    return found if every else copy()


def calibrated(logit: Tensor, rows: Learning) -> tuple[Tensor, Tensor]:
    """Slope and bias for log odds `logit: (rows,)`."""
    among = np.flatnonzero(rows.held)
    if len(among) < PLATT_HELD:
        among = np.arange(len(rows))
    frauds = np.cumsum(rows.y[among][::-1])
    enough = int(np.searchsorted(frauds, PLATT_FRAUDS)) + 1
    among = among[-max(PLATT_ROWS, enough) :]
    given = (logit.numpy()[among], rows.y[among], rows.weight[among])
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
