"""Training a base model: early stopping on a holdout by time, then calibration.

The published recipe (20 fixed epochs, which overfit) is kept for the published run: `paper`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from consumer import metrics
from consumer.columns import Float64
from consumer.errors import DataError
from consumer.experts.base import Base
from consumer.hedge.change import skewness, unrest
from consumer.hedge.probes import Probes
from consumer.manifest import Noise, Reference
from consumer.model import Healable, PlainMLP, SelfHealingMLP
from consumer.reference import Trained, of_training
from consumer.rows import Rows

Recipe = Literal["default", "paper"]
# (epochs done, epochs at most, loss on the holdout or None)
Progress = Callable[[int, int, float | None], None]

LEARNING_RATE = 1e-3
PAPER_EPOCHS = 20
PAPER_BATCH = 100
MAX_EPOCHS = 200
BATCH = 256
# Adam's loss on a few hundred holdout rows wavers from epoch to epoch; ten without a new best is
# past the wavering, and costs ten epochs.
PATIENCE = 10
HOLDOUT_SHARE = 0.2
LEAST_OUTPUT_SD = 1e-6
# Platt's fit has two parameters; with fewer positives than this a slope means nothing.
CALIBRATION_MIN_POSITIVES = 10


def reference(rows: Rows, module: Healable) -> tuple[Reference, Trained]:
    """Statistics of the training rows; a constant feature counts as having sd 1.

    Those of the model's outputs are of the newest fifth, which training holds out: on rows that it
    has learnt a model is surer than it will ever be again. How they differ by day and night the
    rows before tell as well, looked at by themselves.
    """
    base = Base(module, module.adapter_state())
    with torch.no_grad():
        latent = base.latent(base.represent(torch.from_numpy(rows.x))).numpy()
    trained = of_training(rows.x, latent)
    mean, plain = rows.x.mean(axis=0), rows.x.std(axis=0)
    sd = np.where(plain > 0, plain, 1.0)
    skewed = skewness(rows.x)
    learnt, newest = np.split(Probes(base, trained)(rows.x), [_cut(rows)])
    parts = [_noise(part) for part in (learnt, newest) if len(part)]
    restless = np.max([[noise.unrest for noise in part] for part in parts], axis=0).tolist()
    return Reference(
        rows=len(rows),
        fraud_share=float(rows.label.mean()),
        mean=[float(v) for v in mean],
        sd=[float(v) for v in sd],
        skewness=skewed,
        unrest=unrest(rows.x, sd, skewed),
        outputs=[
            noise.model_copy(update={"unrest": most})
            for noise, most in zip(parts[-1], restless, strict=True)
        ],
    ), trained


def _noise(outputs: Float64) -> list[Noise]:
    """Of each column of `outputs: (rows, columns)`."""
    sd, skewed = np.maximum(outputs.std(axis=0), LEAST_OUTPUT_SD), skewness(outputs)
    return [
        Noise(sd=float(of), skewness=skew, unrest=restless)
        for of, skew, restless in zip(sd, skewed, unrest(outputs, sd, skewed), strict=True)
    ]


def _cut(rows: Rows) -> int:
    return len(rows) - int(len(rows) * HOLDOUT_SHARE)


def train_paper(rows: Rows, seed: int, progress: Progress) -> tuple[SelfHealingMLP, PlainMLP]:
    """The published training: both models are made first, then trained one after the other.

    Source: the published experiment; every draw of random numbers is in its order.
    """
    torch.manual_seed(seed)
    width = len(rows.features)
    module, shadow = SelfHealingMLP(width), PlainMLP(width)
    x, y = torch.from_numpy(rows.x), torch.from_numpy(rows.label)
    for number, trained in enumerate((module, shadow)):
        optimiser = torch.optim.Adam(trained.parameters(), lr=LEARNING_RATE)
        for epoch in range(PAPER_EPOCHS):
            _epoch(trained, optimiser, x, y, PAPER_BATCH)
            progress(number * PAPER_EPOCHS + epoch + 1, 2 * PAPER_EPOCHS, None)
    return module.eval(), shadow.eval()


def train(rows: Rows, seed: int, progress: Progress) -> tuple[SelfHealingMLP, dict[str, Any]]:
    """Train until the holdout's loss stops falling, keep the best epoch, then calibrate.

    The newest fifth of the rows is held out. Its even rows stop the training, its odd rows fit the
    calibration and give the figures.

    Returns the module and how it was trained, for the manifest.
    Raises: DataError where a side has too few rows or one class only.
    """
    torch.manual_seed(seed)
    cut = _cut(rows)
    x, y = torch.from_numpy(rows.x), torch.from_numpy(rows.label)
    stop_x, stop_y = x[cut::2], y[cut::2]
    fit_x, fit_y = x[cut + 1 :: 2], y[cut + 1 :: 2]
    for name, part in (("training", y[:cut]), ("holdout", stop_y), ("holdout", fit_y)):
        if len(part) == 0 or part.min() == part.max():
            raise DataError(
                f"the {name} part of the {len(rows)} rows has one class only; "
                "give more rows (the newest fifth is held out)"
            )
    module = SelfHealingMLP(len(rows.features))
    module.standardise.mean.copy_(x[:cut].mean(dim=0))
    sd = x[:cut].std(dim=0, unbiased=False)
    module.standardise.sd.copy_(torch.where(sd > 0, sd, torch.ones_like(sd)))
    optimiser = torch.optim.Adam(module.parameters(), lr=LEARNING_RATE)
    best_loss, best_epoch, best = float("inf"), 0, copy.deepcopy(module.state_dict())
    epoch = 0
    for epoch in range(1, MAX_EPOCHS + 1):
        _epoch(module, optimiser, x[:cut], y[:cut], BATCH)
        with torch.no_grad():
            loss = F.binary_cross_entropy(module(stop_x), stop_y).item()
        progress(epoch, MAX_EPOCHS, loss)
        if loss < best_loss:
            best_loss, best_epoch, best = loss, epoch, copy.deepcopy(module.state_dict())
        if epoch - best_epoch >= PATIENCE:
            break
    module.load_state_dict(best)
    module.eval()
    calibrated = _calibrate(module, fit_x, fit_y)
    with torch.no_grad():
        score = module(fit_x).numpy()
    return module, {
        "epochs": epoch,
        "best_epoch": best_epoch,
        "calibrated": calibrated,
        "holdout": _plain(metrics.figures(score, fit_y.numpy(), 0.5)),
    }


def figures(module: nn.Module, rows: Rows, threshold: float = 0.5) -> dict[str, Any]:
    """Figures of a module on rows it was not trained on, as plain data without nulls."""
    with torch.no_grad():
        score = module(torch.from_numpy(rows.x)).numpy()
    return _plain(metrics.figures(score, rows.label, threshold))


def _plain(found: dict[str, float | None]) -> dict[str, Any]:
    # TOML has no null: a figure that is undefined is left out.
    return {name: value for name, value in found.items() if value is not None}


def _epoch(
    module: nn.Module, optimiser: torch.optim.Optimizer, x: Tensor, y: Tensor, batch: int
) -> None:
    order = torch.randperm(len(x))
    for start in range(0, len(x), batch):
        rows = order[start : start + batch]
        optimiser.zero_grad()
        F.binary_cross_entropy(module(x[rows]), y[rows]).backward()
        optimiser.step()


def _calibrate(module: SelfHealingMLP, x: Tensor, y: Tensor) -> bool:
    """Fit slope and bias by damped Newton steps on the log loss; says whether it did.

    Source: Platt (1999), with the target smoothing of its section 2.2.
    """
    positives = float(y.sum())
    negatives = len(y) - positives
    if min(positives, negatives) < CALIBRATION_MIN_POSITIVES:
        return False
    with torch.no_grad():
        logit = torch.logit(module(x).double().clamp(1e-7, 1 - 1e-7)).numpy()
    target = np.where(
        y.numpy() == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2)
    ).astype(np.float64)
    design = np.column_stack([logit, np.ones_like(logit)])  # (rows, 2)

    def loss(at: Float64) -> float:
        z = design @ at
        return float(np.sum(np.logaddexp(0, z) - target * z))

    weights = np.array([1.0, 0.0])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
        gradient = design.T @ (p - target)
        hessian = (design * (p * (1 - p))[:, None]).T @ design + 1e-6 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        # A full step overshoots where the scores are far too sure: halve it until the loss falls.
        while np.abs(step).max() >= 1e-8 and loss(weights - step) > loss(weights):
            step = step / 2
        weights = weights - step
        if np.abs(step).max() < 1e-8:
            break
    if not np.isfinite(weights).all() or weights[0] <= 0:
        return False
    module.calibrate.slope.fill_(float(weights[0]))
    module.calibrate.bias.fill_(float(weights[1]))
    return True


def watched(names: Sequence[str] | None, features: Sequence[str]) -> list[str]:
    """The features FIDI watches: all, unless some are named.

    Raises: DataError where one is not a feature.
    """
    for name in names or ():
        if name not in features:
            raise DataError(f"--watch {name}: no such feature; there are {', '.join(features)}")
    return list(names or features)
