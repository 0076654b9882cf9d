"""Per-feature input scale and shift: the best single expert where features moved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from consumer.experts.base import Base, Fitted, Learning, Memory, State, View
from consumer.experts.descent import Early, Numbers, calibrated, cross_entropy, descend

RATE, STEPS, BATCH, EVERY, PATIENCE = 0.03, 50, 192, 5, 4
PULL = 0.02  # to the identity, over the root of the rows
COLD_EVERY = 3  # of the fits, one also begins from the identity


class Scaling:
    """`x -> (x - mean) * scale + mean - shift * sd`, then slope and bias: 2 d + 2 numbers."""

    name = "scaling"
    learns_from: Memory = "regime"

    def __init__(self, mean: Sequence[float], sd: Sequence[float]) -> None:
        self._mean = torch.tensor(mean, dtype=torch.float32)
        self._sd = torch.tensor(sd, dtype=torch.float32)

    def cold(self, base: Base) -> State:
        """The identity."""
        return {
            "scale": torch.ones_like(self._mean),
            "shift": torch.zeros_like(self._mean),
            "slope": torch.tensor(1.0),
            "bias": torch.tensor(0.0),
        }

    def logit(self, state: State, view: View) -> Tensor:
        """Log odds of fraud, (rows,)."""
        return state["slope"] * view.base.of(self.moved(state, view.x)) + state["bias"]

    def moved(self, state: State, x: Tensor) -> Tensor:
        """The rows as the frozen model is to see them."""
        scaled: Tensor = (x - self._mean) * state["scale"]
        moved: Tensor = scaled + self._mean - state["shift"] * self._sd
        return moved

    def fit(self, base: Base, start: State, rows: Learning, seed: int) -> Fitted:
        """From the start, now and then from the identity too, the better one; then calibration."""
        x, y = torch.tensor(rows.x), torch.from_numpy(rows.y)
        pull = PULL / max(1, len(rows)) ** 0.5
        look = torch.from_numpy(rows.held if rows.held.any() else ~rows.held)

        def raw(p: State, x: Tensor) -> Any:
            return base.of(self.moved(p, x)) + p["bias"]

        error = cross_entropy(rows, lambda p, some: raw(p, x[some]))

        def loss(p: Numbers, some: Tensor) -> Tensor:
            far = ((p["scale"] - 1) ** 2).sum() + (p["shift"] ** 2).sum()
            whole: Tensor = error(p, some) + pull * far
            return whole

        def learnt(one: State) -> tuple[float, Numbers]:
            numbers = {"scale": one["scale"], "shift": one["shift"], "bias": torch.tensor(0.0)}
            found = descend(
                numbers,
                loss,
                ~rows.held,
                rate=RATE,
                batch=BATCH,
                steps=STEPS,
                seed=seed,
                early=Early(rows.held, EVERY, PATIENCE),
            )
            with torch.no_grad():
                left = F.binary_cross_entropy_with_logits(raw(found, x[look]), y[look])
            return float(left), found

        starts = [start, self.cold(base)] if seed % COLD_EVERY == 0 else [start]
        _, best = min((learnt(one) for one in starts), key=lambda found: found[0])
        with torch.no_grad():
            logit = raw(best, x)
        slope, bias = calibrated(logit, rows)
        judged = np.flatnonzero(rows.held)
        state = {**best, "slope": slope, "bias": bias + slope * best["bias"]}
        return Fitted(state, judged, (slope * logit + bias).numpy()[judged])
