"""Ranks of scores in bounded memory: the weight of each label in bins of the score.

`bins`: (label, bins) weight, legitimate rows first; rows of one bin count as tied.
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

_FRAUD = 1


def bin_of(score: Float64) -> Int64:
    """Number of each score's bin: (rows,).

    >>> bin_of(np.array([0.0, 0.5, 1.0])).tolist()
    [0, 128, 255]
    """
    return np.searchsorted(_EDGES, score, side="right").astype(np.int64)


def average_precision(bins: Float64) -> float | None:
    """`bins`: (label, bins) weight; None without frauds."""
    fraud, flagged, frauds = _from_the_top(bins)
    if frauds <= 0:
        return None
    return float(fraud @ _share(np.cumsum(fraud), flagged) / frauds)


def average_precision_error(bins: Float64, squares: Float64) -> float | None:
    """Its standard error; `squares`: (label, bins), of the rows' weights."""
    fraud, flagged, frauds = _from_the_top(bins)
    if frauds <= 0:
        return None
    precision = _share(np.cumsum(fraud), flagged)
    found = fraud @ precision / frauds
    # What more of a bin changes: its frauds find their own precision, and move that of its bin and
    # of all below.
    lost = _share(fraud * precision, flagged)
    gained = _share(fraud, flagged) - lost
    by_fraud = precision + _with_those_below(gained) - found
    return _error(np.stack([-_with_those_below(lost), by_fraud]) / frauds, squares)


def recall_at(bins: Float64, share: float) -> float | None:
    """Share of frauds among the highest `share` of rows; of the bin that is cut, its part."""
    fraud, flagged, frauds = _from_the_top(bins)
    if frauds <= 0:
        return None
    return float(fraud @ _taken(flagged, share) / frauds)


def recall_at_error(bins: Float64, squares: Float64, share: float) -> float | None:
    """Its standard error; `squares`: (label, bins), of the rows' weights."""
    fraud, flagged, frauds = _from_the_top(bins)
    if frauds <= 0:
        return None
    taken = _taken(flagged, share)
    found = fraud @ taken / frauds
    # More rows above the cut move it up, more below it down: by as many frauds as lie there.
    cut = min(int(np.searchsorted(flagged, share * flagged[-1])), BINS - 1)
    rows = flagged[cut] - (flagged[cut - 1] if cut else 0.0)
    by_row = (share - taken) * (fraud[cut] / rows if rows > 0 else 0.0)
    return _error(np.stack([by_row, by_row + taken - found]) / frauds, squares)


def _from_the_top(bins: Float64) -> tuple[Float64, Float64, float]:
    """From the highest score down: frauds of each bin, rows to each bin's end; and all frauds."""
    fraud = bins[_FRAUD, ::-1]
    return fraud, np.cumsum(bins.sum(axis=0)[::-1]), float(fraud.sum())


def _taken(flagged: Float64, share: float) -> Float64:
    """(bins,) which part of each lies among the highest `share` of rows."""
    rows = np.diff(flagged, prepend=0.0)
    return np.clip(_share(share * flagged[-1] - (flagged - rows), rows), 0, 1)


def _share(part: Float64, whole: Float64) -> Float64:
    """`part / whole`, 0 where there is nothing."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _with_those_below(values: Float64) -> Float64:
    return np.cumsum(values[::-1])[::-1]


def _error(by_weight: Float64, squares: Float64) -> float:
    """Of a figure that the weight of a row changes so much, (label, bins) from the top down.

    Source: the influence function, Deville, "Variance estimation for complex statistics and
    estimators: linearization and residual techniques" (1999).
    """
    return math.sqrt(max(0.0, float((by_weight**2 * squares[:, ::-1]).sum())))
