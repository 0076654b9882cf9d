"""The adapter, healed on labelled rows; the backbone's pass is shared with the frozen model."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from consumer.experts.base import Base, Fitted, Learning, Memory, State, View
from consumer.experts.descent import Early, calibrated, cross_entropy, descend, uncalibrated

RATE, PATIENCE = 2e-3, 3


class Adapter:
    """`calibrate(head(h + scale * adapter(h)))`, every number of the adapter learnt."""

    name = "adapter"
    learns_from: Memory = "regime"

    def cold(self, base: Base) -> State:
        """The adapter as trained."""
        return {**base.adapter, "slope": torch.tensor(1.0), "bias": torch.tensor(0.0)}

    def logit(self, state: State, view: View) -> Tensor:
        """Log odds of fraud, (rows,)."""
        return state["slope"] * view.base.logit(view.h, uncalibrated(state)) + state["bias"]

    def fit(self, base: Base, start: State, rows: Learning, seed: int) -> Fitted:
        """A few epochs, fewer over more rows; then calibration."""
        with torch.no_grad():
            h = base.represent(torch.tensor(rows.x))
        train = ~rows.held
        count = int(train.sum())
        batch = 32 if count < 512 else 128 if count < 1024 else 256
        epochs = 16 if count < 512 else 8 if count <= 2000 else 4
        epoch = -(-count // batch)  # in steps
        found = descend(
            uncalibrated(start),
            cross_entropy(rows, lambda p, some: base.logit(h[some], p)),
            train,
            rate=RATE,
            batch=batch,
            steps=epochs * epoch,
            seed=seed,
            early=Early(rows.held, epoch, PATIENCE),
        )
        with torch.no_grad():
            raw = base.logit(h, found)
        slope, bias = calibrated(raw, rows)
        judged = np.flatnonzero(rows.held)
        logit = (slope * raw + bias).numpy()[judged]
        return Fitted({**found, "slope": slope, "bias": bias}, judged, logit)
