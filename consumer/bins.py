"""Ranks of scores in bounded memory: the weight of each label in bins of the score.

`bins`: (…, label, bins) weight, legitimate rows first; rows of one bin count as tied.
"""

from __future__ import annotations

import math

import numpy as np

from consumer.columns import Float64, Int64

# Evenly spaced in the logit, .094 apart: scores of one bin differ by .024 at .5, and near the ends,
# where the ranks of rare frauds are made, by 9% of what is left to 0 or 1. Beyond ±12 (6e-6 from
# the end) lie two open bins.
BINS = 256
_EDGES: Float64 = np.array([1 / (1 + math.exp(-z)) for z in np.linspace(-12, 12, BINS - 1)])

# The standard deviation of 200 draws is itself known to 1 / sqrt(2 * 200) = 5%.
_DRAWS = 200
_FRAUD = 1


def bin_of(score: Float64) -> Int64:
    """Number of each score's bin: (rows,).

    >>> bin_of(np.array([0.0, 0.5, 1.0])).tolist()
    [0, 128, 255]
    """
    return np.searchsorted(_EDGES, score, side="right").astype(np.int64)


def average_precision(bins: Float64) -> Float64:
    """`bins`: (…, label, bins) weight; (…,), nan without frauds."""
    fraud = np.cumsum(bins[..., _FRAUD, ::-1], axis=-1)  # (…, bins) from the highest score down
    flagged = np.cumsum(bins.sum(axis=-2)[..., ::-1], axis=-1)
    gained = ratio(bins[..., _FRAUD, ::-1], fraud[..., -1:])
    precision = np.divide(fraud, flagged, out=np.zeros_like(fraud), where=flagged > 0)
    return np.asarray((gained * precision).sum(axis=-1), np.float64)


def recall_at(bins: Float64, share: float) -> Float64:
    """Share of frauds among the highest `share` of rows; of the bin that is cut, its part."""
    rows = bins.sum(axis=-2)[..., ::-1]  # (…, bins) from the highest score down
    above = np.cumsum(rows, axis=-1) - rows
    room = share * rows.sum(axis=-1, keepdims=True) - above
    part = np.clip(np.divide(room, rows, out=np.zeros_like(rows), where=rows > 0), 0, 1)
    fraud = bins[..., _FRAUD, ::-1]
    return ratio((fraud * part).sum(axis=-1), fraud.sum(axis=-1))


def drawn(draws: np.random.Generator, sums: Float64) -> Float64:
    """Other values that the sums might have taken: (draws, …) for `sums: (weight and square, …)`.

    Gamma distributed, with the weight as mean and the sum of squares as variance: that of
    exponential row weights, as in the Bayesian bootstrap. A normal draw would be below 0 one time
    in six where a single row stands for its whole bin.

    Source: Rubin, "The Bayesian Bootstrap", 1981.
    """
    weight, square = np.maximum(sums, 0.0)
    full = (weight > 0) & (square > 0)
    shape, scale = weight[full] ** 2 / square[full], square[full] / weight[full]
    found = np.zeros((_DRAWS, *weight.shape))
    found[:, full] = draws.gamma(shape, scale, (_DRAWS, len(shape)))
    return found


def ratio(part: Float64, whole: Float64) -> Float64:
    """`part / whole`, nan where it is 0 / 0: undefined."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(part / whole, np.float64)
