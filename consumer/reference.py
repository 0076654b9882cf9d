"""What rows looked like in training, to compare those of today with."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from consumer.columns import Float32, Float64, Int64

QUANTILES = 1_000
# How far rows reach: but for so many of them, either way.
BEYOND_ALL_BUT = 0.001


@dataclass(frozen=True)
class Trained:
    """Features' distributions, and how the backbone represents the rows."""

    quantiles: Float32  # (QUANTILES, features)
    latent_mean: Float32  # (width,)
    latent_sd: Float32  # (width,)


def of_training(x: Float32, latent: Float32) -> Trained:
    """Of training rows `x: (rows, features)` and what the backbone makes of them: (rows, width)."""
    sd = latent.std(axis=0)
    return Trained(quantiles(x), latent.mean(axis=0), np.where(sd > 0, sd, 1.0).astype(np.float32))


def quantiles(x: Float32) -> Float32:
    """(QUANTILES, features), ascending, of training rows `x: (rows, features)`."""
    levels = (np.arange(QUANTILES) + 0.5) / QUANTILES
    found: Float32 = np.quantile(x, levels, axis=0).astype(np.float32)
    return found


def reach(x: Float32, trained: Trained | None) -> Float32:
    """(2, features): where nearly all rows lie, of `x: (rows, features)` and of training."""
    found: Float32 = np.quantile(x, (BEYOND_ALL_BUT, 1 - BEYOND_ALL_BUT), axis=0).astype(np.float32)
    if trained is None:
        return found
    least, most = trained.quantiles[0], trained.quantiles[-1]
    return np.stack([np.minimum(found[0], least), np.maximum(found[1], most)])


@dataclass(frozen=True)
class Sample:
    """Rows that stand for a distribution, each feature by itself."""

    x: Float32  # (rows, features)
    rows: int  # how many were drawn; more than there are, where only quantiles are kept


def as_skewed(limit: float, skewness: Float64) -> Float64:
    """As unlikely a deviate as the normal `limit` where the distribution is skewed; at least it.

    The mean of a few rows of a skewed feature is skewed itself, and far more often far out on that
    side. `skewness`: of the mean, positive towards the side that is looked at.

    Source: the first term of Cornish and Fisher, "Moments and cumulants in the specification of
    distributions" (1938).
    """
    raised: Float64 = limit + np.maximum(0.0, skewness) * (limit**2 - 1) / 6
    return raised


def fits(now: Float32, then: Sample, weight: Float64 | None = None) -> float:
    """Least p over the features that both are draws of one distribution, times their number.

    `now: (rows, features)`, each row counting as `weight: (rows,)` says.

    Source: Kolmogorov-Smirnov for two samples; p by Stephens, "Use of the Kolmogorov-Smirnov,
    Cramer-von Mises and related statistics without extensive tables" (1970). Weighted rows count
    as their effective number, Kish (1965).
    """
    share = np.full(len(now), 1 / len(now)) if weight is None else weight / weight.sum()
    return _least_p(_distance(now, share, then.x), 1 / float(share @ share), then.rows)


class Ranks:
    """Where rows lie among those of a sample: ranked once, they may be compared with it often."""

    def __init__(self, then: Sample) -> None:
        """`then.x`: of each feature as many values, at least one."""
        self._columns = np.ascontiguousarray(np.sort(then.x, axis=0).T)  # (features, values)
        self._rows = then.rows
        # Shares of the sample up to each of its values, and below it: (2, features, values).
        self._then = np.array(
            [[np.searchsorted(c, c, side) for c in self._columns] for side in ("right", "left")]
        ) / len(then.x)

    def of(self, rows: Float32) -> Int64:
        """Where rows lie: of each feature and row, a place among all of the sample's values.

        (2, features * rows): by how many values are smaller, and by how many are no larger; of a
        feature in ascending order, as values in order are found in a third of the time.
        """
        features, values = self._columns.shape
        found = np.empty((2, features, len(rows)), np.int64)
        for feature, (column, x) in enumerate(zip(self._columns, np.sort(rows.T), strict=True)):
            found[0, feature] = column.searchsorted(x, "left")
            found[1, feature] = column.searchsorted(x, "right")
        found += np.arange(features)[:, None] * (values + 1)
        return found.reshape(2, -1)

    def counts(self, ranks: Int64) -> Int64:
        """How often each place comes, (2, features, values + 1): those of more rows are added."""
        features, values = self._columns.shape
        shape = features, values + 1
        return np.array([np.bincount(r, minlength=math.prod(shape)).reshape(shape) for r in ranks])

    def fits(self, counts: Int64) -> float:
        """As `fits` of the rows that were counted."""
        below = counts[..., :-1].cumsum(axis=-1)
        rows = int(counts[0, 0].sum())
        # Between two values of the sample its share stays, and the rows' only grows: they are
        # farthest apart at a value, or just below one.
        apart = np.abs(below / rows - self._then).max(axis=(0, 2))
        return _least_p(apart, rows, self._rows)


def _least_p(distance: Float64, now: float, then: float) -> float:
    """Of distances (features,) between so many rows each, times the number of features."""
    root = np.sqrt(now * then / (now + then))
    z = (root + 0.12 + 0.11 / root) * distance
    k = np.arange(1, 50)[:, None]
    p = 2 * ((-1.0) ** (k - 1) * np.exp(-2 * k**2 * z[None, :] ** 2)).sum(axis=0)
    p = np.where(z < 0.3, 1.0, np.clip(p, 0.0, 1.0))
    return min(1.0, float(p.min()) * len(z))


def _distance(one: Float32, share: Float64, other: Float32) -> Float64:
    """Largest distance of the empirical distributions, (features,)."""
    found = np.empty(one.shape[1])
    for column in range(one.shape[1]):
        order = np.argsort(one[:, column])
        a, b = one[order, column], np.sort(other[:, column])
        both = np.concatenate([a, b])
        below = np.concatenate([[0.0], np.cumsum(share[order])])
        of_a = below[np.searchsorted(a, both, side="right")]
        of_b = np.searchsorted(b, both, side="right") / len(b)
        found[column] = np.abs(of_a - of_b).max()
    return found
