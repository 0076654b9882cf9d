"""Input scale and shift and the adapter, learnt together: for many rows of a slow change."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from consumer.experts.base import Base, Fitted, Learning, Memory, State, View
from consumer.experts.descent import Numbers, calibrated, descend
from consumer.experts.scaling import Scaling

OWN = ("scale", "shift", "slope", "bias")


class Tuned:
    """`calibrate(head(h + adapter(h)))` of rows scaled and shifted; warm from itself each time."""

    name = "tuned"
    learns_from: Memory = "regime"
    rate, falls, batch, epochs, most_steps, looks, patience = 2e-3, False, 256, 4, 10_000, 4, 2

    def __init__(self, mean: Sequence[float], sd: Sequence[float]) -> None:
        self._scaling = Scaling(mean, sd)

    def cold(self, base: Base) -> State:
        """The identity before the adapter as trained."""
        return {**self._scaling.cold(base), **base.adapter_as("adapter.")}

    def logit(self, state: State, view: View) -> Tensor:
        """Log odds of fraud, (rows,)."""
        return state["slope"] * self._raw(view.base, state, view.x) + state["bias"]

    def _raw(self, base: Base, state: State, x: Tensor) -> Tensor:
        adapter = {n.removeprefix("adapter."): t for n, t in state.items() if n not in OWN}
        return base.logit(base.represent(self._scaling.moved(state, x)), adapter)

    def steps(self, rows: Learning) -> int:
        """How many a heal may take."""
        wanted = self.epochs * -(-int((~rows.held).sum()) // self.batch)
        return min(self.most_steps, wanted)

    def fit(self, base: Base, start: State, rows: Learning, seed: int) -> Fitted:
        """A few epochs over the rows, warm; then calibration."""
        x, y = torch.tensor(rows.x), torch.from_numpy(rows.y)
        weight = torch.from_numpy(rows.weight)

        def loss(p: Numbers, some: Tensor) -> Tensor:
            logit = self._raw(base, p, x[some])
            return F.binary_cross_entropy_with_logits(logit, y[some], weight[some])

        numbers = {n: t for n, t in start.items() if n not in ("slope", "bias")}
        steps = self.steps(rows)
        found = descend(
            numbers,
            loss,
            rows,
            rate=self.rate,
            batch=self.batch,
            steps=steps,
            every=-(-steps // self.looks) if self.looks else None,
            patience=self.patience,
            seed=seed,
            falls=self.falls,
        )
        with torch.no_grad():
            raw = self._raw(base, found, x)
        # Where held rows do not say when to stop, they only judge.
        seen = np.ones(len(rows), bool) if self.looks else ~rows.held
        slope, bias = calibrated(raw[torch.from_numpy(seen)], rows.only(seen))
        judged = np.flatnonzero(rows.held)
        logit = (slope * raw + bias).numpy()[judged]
        return Fitted({**found, "slope": slope, "bias": bias}, judged, logit)
