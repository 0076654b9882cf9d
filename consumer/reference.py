"""What rows looked like in training, to compare those of today with."""

from __future__ import annotations

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
        self._sorted = np.sort(then.x, axis=0)  # (values, features)
        self._rows = then.rows
        columns = self._sorted.T
        # Shares of the sample up to each of its values, and below it: (2, features, values).
        self._then = np.array(
            [[np.searchsorted(c, c, side) for c in columns] for side in ("right", "left")]
        ) / len(self._sorted)

    def of(self, rows: Float32) -> Int64:
        """(2, rows, features): how many values are smaller, and how many no larger."""
        found = np.empty((2, *rows.shape), np.int64)
        for feature, values in enumerate(self._sorted.T):
            for n, side in enumerate(("left", "right")):
                found[n, :, feature] = np.searchsorted(values, rows[:, feature], side)  # type: ignore[call-overload]
        return found

    def fits(self, ranks: Int64) -> float:
        """As `fits` of the rows `ranks: (2, rows, features)` are of."""
        _, rows, features = ranks.shape
        values = len(self._sorted)
        places = ranks + np.arange(features) * (values + 1)
        shares = [
            np.bincount(each.ravel(), minlength=features * (values + 1))
            .reshape(features, values + 1)[:, :-1]
            .cumsum(axis=1)
            for each in places
        ]
        # Between two values of the sample its share stays, and the rows' only grows: they are
        # farthest apart at a value, or just below one.
        apart = np.abs(np.array(shares) / rows - self._then).max(axis=(0, 2))
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
