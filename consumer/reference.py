"""What a feature looked like in training: quantiles, to compare the distributions of today with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from consumer.columns import Float32, Float64

QUANTILES = 1_000


def quantiles(x: Float32) -> Float32:
    """(QUANTILES, features), ascending, of training rows `x: (rows, features)`."""
    levels = (np.arange(QUANTILES) + 0.5) / QUANTILES
    found: Float32 = np.quantile(x, levels, axis=0).astype(np.float32)
    return found


@dataclass(frozen=True)
class Sample:
    """Rows that stand for a distribution, each feature by itself."""

    x: Float32  # (rows, features)
    rows: int  # how many were drawn; more than there are, where only quantiles are kept


def fits(now: Float32, then: Sample) -> float:
    """Least p over the features that both are draws of one distribution, times their number.

    Source: Kolmogorov-Smirnov for two samples; p by Stephens, "Use of the Kolmogorov-Smirnov,
    Cramer-von Mises and related statistics without extensive tables" (1970).
    """
    root = np.sqrt(len(now) * then.rows / (len(now) + then.rows))
    z = (root + 0.12 + 0.11 / root) * _distance(now, then.x)
    k = np.arange(1, 50)[:, None]
    p = 2 * ((-1.0) ** (k - 1) * np.exp(-2 * k**2 * z[None, :] ** 2)).sum(axis=0)
    p = np.where(z < 0.3, 1.0, np.clip(p, 0.0, 1.0))
    return min(1.0, float(p.min()) * len(z))


def _distance(one: Float32, other: Float32) -> Float64:
    """Largest distance of the empirical distributions, (features,)."""
    found = np.empty(one.shape[1])
    for column in range(one.shape[1]):
        a, b = np.sort(one[:, column]), np.sort(other[:, column])
        both = np.concatenate([a, b])
        of_a = np.searchsorted(a, both, side="right") / len(a)
        of_b = np.searchsorted(b, both, side="right") / len(b)
        found[column] = np.abs(of_a - of_b).max()
    return found
