"""Features moved back to where they were in training: the only heal that needs no label.

All classes may have moved together: then each feature, less its shift, is distributed as it was.
Where it is not, the concept may have changed as well, and without labels nobody can tell: refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from consumer.columns import Float32, Float64
from consumer.experts.base import Base, State, View
from consumer.reference import Sample, fits

FITS_P, STAYS_P = 0.01, 0.001  # at least so likely they are, once moved back; and still are
MOVED_SE = 4.0  # a feature moved where its mean is so many standard errors off
SHAPE_SE = 4.0  # and only moved where spread and skewness are no further off


class Alignment:
    """`frozen(x - shift)`: d numbers."""

    name = "alignment"

    def __init__(self, mean: Sequence[float]) -> None:
        self._features = len(mean)

    def cold(self, base: Base) -> State:
        """No shift."""
        return {"shift": torch.zeros(self._features)}

    def logit(self, state: State, view: View) -> Tensor:
        """Log odds of fraud, (rows,)."""
        return view.base.of(view.x - state["shift"])


def shift(
    now: Float32, then: Sample, sd: Float64, least_p: float = FITS_P
) -> tuple[Float32, float] | None:
    """How far each feature moved, (features,), and how likely rows moved back are training's.

    None where they did not only move. `now: (rows, features)`; `sd: (features,)` of training;
    `least_p`: less likely is refused.
    """
    difference = now.mean(axis=0) - then.x.mean(axis=0)
    error = sd * np.sqrt(1 / len(now) + 1 / then.rows)
    found = np.where(np.abs(difference) > MOVED_SE * error, difference, 0.0).astype(np.float32)
    if not found.any():
        return None
    back = now - found
    p = fits(back, then)
    if p <= least_p or _shape(back, then, sd) > SHAPE_SE:
        return None
    return found, p


def _shape(one: Float32, other: Sample, sd: Float64) -> float:
    """How many standard errors spread and skewness are apart, the worst of all features."""
    a, b = _powers(one, sd), _powers(other.x, sd)
    error = np.sqrt(a.var(axis=1) / len(one) + b.var(axis=1) / other.rows + 1e-12)
    return float((np.abs(a.mean(axis=1) - b.mean(axis=1)) / error).max())


def _powers(x: Float32, sd: Float64) -> Float64:
    """Squares and cubes of the centred features in sd, (2, rows, features)."""
    z = (x - x.mean(axis=0)) / sd
    return np.stack([z**2, z**3])
