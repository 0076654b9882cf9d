"""Only the share of fraud has changed: the second heal that needs no label.

What fraud looks like and what the rest looks like stayed. Then rows weighed back to training's
share are distributed as they were; where they are not, more has changed: refused.

Source: Saerens, Latinne and Decaestecker, "Adjusting the outputs of a classifier to new a priori
probabilities" (2002).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from consumer.columns import Float32, Float64
from consumer.experts.alignment import FITS_P, MOVED_SE
from consumer.experts.base import Base, State, View
from consumer.reference import Sample, fits

ROUNDS = 200
LEAST_SHARE = 1e-5
LEAST_ROWS = 500  # that the weighed rows are worth: fewer would hide a new kind of fraud


class Prevalence:
    """`frozen + bias`: one number."""

    name = "prevalence"

    def cold(self, base: Base) -> State:
        """No bias."""
        return {"bias": torch.tensor(0.0)}

    def logit(self, state: State, view: View) -> Tensor:
        """Log odds of fraud, (rows,)."""
        return view.frozen + state["bias"]


def share_of(p: Float64, trained: float) -> float:
    """The share of fraud under which scores `p: (rows,)`, made under `trained`, make most sense."""
    share = trained
    for _ in range(ROUNDS):
        before, share = share, float(_posterior(p, trained, share).mean())
        share = min(max(share, LEAST_SHARE), 1 - LEAST_SHARE)
        if abs(share - before) < 1e-4 * share:
            break
    return share


def bias(
    now: Float32, p: Float64, then: Sample, trained: float, least_p: float = FITS_P
) -> tuple[float, float] | None:
    """What to add to the log odds, and how likely rows weighed back are training's.

    None where more than the share has changed, or not even that.
    `now: (rows, features)` with frozen scores `p: (rows,)`; `least_p`: less likely is refused.
    """
    trained = min(max(trained, LEAST_SHARE), 1 - LEAST_SHARE)
    share = share_of(p, trained)
    error = math.sqrt(max(share * (1 - share), trained * (1 - trained)) / len(p))
    if abs(share - trained) <= MOVED_SE * error:
        return None
    fraud = _posterior(p, trained, share)
    weight = fraud * trained / share + (1 - fraud) * (1 - trained) / (1 - share)
    if weight.sum() ** 2 < LEAST_ROWS * float(weight @ weight):
        return None
    fit = fits(now, then, weight)
    if fit <= least_p:
        return None
    return math.log(share / (1 - share) * (1 - trained) / trained), fit


def _posterior(p: Float64, trained: float, share: float) -> Float64:
    fraud, rest = p * share / trained, (1 - p) * (1 - share) / (1 - trained)
    found: Float64 = fraud / (fraud + rest)
    return found
