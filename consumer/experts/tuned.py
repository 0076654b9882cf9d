"""Input scale and shift and the adapter, learnt together: for many rows of a slow change."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from consumer.experts.base import Base, Fitted, Learning, Memory, State, View
from consumer.experts.descent import Early, calibrated, cross_entropy, descend, uncalibrated
from consumer.experts.scaling import Scaling

RATE, BATCH, EPOCHS, LOOKS, PATIENCE = 2e-3, 256, 4, 4, 2
OWN = ("scale", "shift", "slope", "bias")


class Tuned:
    """`calibrate(head(h + adapter(h)))` of rows scaled and shifted; warm from itself each time."""

    name = "tuned"
    learns_from: Memory = "regime"

    def __init__(self, mean: Sequence[float], sd: Sequence[float]) -> None:
        self._scaling = Scaling(mean, sd)

    def cold(self, base: Base) -> State:
        """The identity before the adapter as trained."""
        return {**self._scaling.cold(base), **base.adapter_as("adapter.")}

    def logit(self, state: State, view: View) -> Tensor:
        """Log odds of fraud, (rows,)."""
        return state["slope"] * self.raw(view.base, state, view.x) + state["bias"]

    def raw(self, base: Base, state: State, x: Tensor) -> Tensor:
        """Before calibration, (rows,)."""
        adapter = {n.removeprefix("adapter."): t for n, t in state.items() if n not in OWN}
        return base.logit(base.represent(self._scaling.moved(state, x)), adapter)

    def fit(self, base: Base, start: State, rows: Learning, seed: int) -> Fitted:
        """A few epochs over the rows, warm; then calibration."""
        x, train = torch.tensor(rows.x), ~rows.held
        steps = EPOCHS * -(-int(train.sum()) // BATCH)
        found = descend(
            uncalibrated(start),
            cross_entropy(rows, lambda p, some: self.raw(base, p, x[some])),
            train,
            rate=RATE,
            batch=BATCH,
            steps=steps,
            seed=seed,
            early=Early(rows.held, -(-steps // LOOKS), PATIENCE),
        )
        with torch.no_grad():
            raw = self.raw(base, found, x)
        slope, bias = calibrated(raw, rows)
        judged = np.flatnonzero(rows.held)
        logit = (slope * raw + bias).numpy()[judged]
        return Fitted({**found, "slope": slope, "bias": bias}, judged, logit)
