"""What the frozen network makes of a row, as columns that a change shows in.

A change of the base rate moves scores before it moves any feature's mean; rows unlike any in
training lie far out in the backbone's representation.
"""

from __future__ import annotations

import numpy as np
import torch

from consumer.columns import Float32, Float64
from consumer.experts.base import Base, View
from consumer.hedge.change import FeatureChange
from consumer.model_directory import Model
from consumer.reference import Trained

# In brackets: no feature is called so.
NAMES = ("(score)", "(entropy)", "(latent)")

# Of a batch's many thousand rows so many at a time stay within a core's cache: half the time.
PIECE = 1024


class Probes:
    """Frozen score, its entropy in nats, and the distance of the representation from training's.

    The mean distance over rows is, but for a logarithm of variances, twice the Kullback-Leibler
    divergence of their representation from training's, both as Gaussians without correlations.
    Of each row's the logarithm is taken: one row far out would else be a change by itself.
    """

    def __init__(self, base: Base, trained: Trained) -> None:
        self._base = base
        self._mean = torch.from_numpy(trained.latent_mean)
        self._sd = torch.from_numpy(trained.latent_sd)

    def __call__(self, x: Float32) -> Float64:
        """(rows, 3) of `x: (rows, features)`."""
        return np.concatenate([self._of(x[at : at + PIECE]) for at in range(0, len(x), PIECE)])

    @torch.inference_mode()
    def _of(self, x: Float32) -> Float64:
        view = View.of(self._base, x)
        p = torch.sigmoid(view.frozen).numpy().astype(np.float64)
        entropy = -(p * np.log(p) + (1 - p) * np.log1p(-p))
        latent = self._base.latent(view.h)  # (rows, width)
        far = ((latent - self._mean) / self._sd).square().mean(dim=1).numpy()
        return np.column_stack([p, entropy, np.log1p(far)])


def watched(model: Model, *, outputs: bool) -> FeatureChange:
    """Columns that a change shows in: the features, and what the frozen network makes of them."""
    reference, names = model.manifest.reference, list(model.features)
    count = len(names)
    sd = list(reference.sd)
    skewness, unrest = reference.skewness or [0.0] * count, reference.unrest or [1.0] * count
    if outputs:
        names += NAMES
        sd += [one.sd for one in reference.outputs]
        skewness = [*skewness, *(one.skewness for one in reference.outputs)]
        unrest = [*unrest, *(one.unrest for one in reference.outputs)]
    return FeatureChange(names, sd, unrest, skewness)
