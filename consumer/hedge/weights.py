"""Weights that follow the evidence.

Source: Herbster and Warmuth, "Tracking the best expert" (1998): fixed share under log loss. How
often the best one changes is learnt too, from a few rates of change weighed like experts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consumer.columns import Float64

# Of all weight so much moves on with each batch, to everyone alike: right where the best expert
# changes every 50 batches, every 500, every 5,000.
RATES = (0.02, 0.002, 0.0002)
# But the frozen model gets of this one always: the way back to it stays short, and where few labels
# come with a batch their evidence still outweighs it.
WAY_BACK = 0.002
# And of the belief in each rate, so that none is ever out of the question.
RATE_OF_RATES = 1e-6
# One row may not decide: its likelihood is taken of a probability inside these.
LEAST, MOST = 0.001, 0.999
# Nor may it in a mean of losses.
LEAST_IN_LOSS = math.exp(-4.0)


def loss(p: NDArray[np.floating[Any]], y: NDArray[Any]) -> Float64:
    """Log loss of each row, (rows,), `p: (rows,)` being the probability of fraud; at most 4."""
    p = np.clip(p, LEAST_IN_LOSS, 1 - LEAST_IN_LOSS)
    found: Float64 = np.where(y == 1, -np.log(p), -np.log1p(-p)).astype(np.float64)
    return found


def of(shares: Mapping[str, float]) -> Float64:
    """As an array, (experts,)."""
    return np.fromiter(shares.values(), np.float64, len(shares))


def log_likelihood(p: Float64, y: Float64, weight: Float64) -> Float64:
    """Of each expert, (experts,), from `p: (experts, rows)`, `y: (rows,)`, `weight: (rows,)`.

    Rounded to four places: the last bits of a probability say nothing, and may differ from machine
    to machine.
    """
    p = np.clip(p, LEAST, MOST)
    found: Float64 = (np.where(y == 1, np.log(p), np.log1p(-p)) @ weight).round(4)
    return found


def follow(weights: Float64, gain: Float64, shares: Float64) -> Float64:
    """Weights after the evidence `gain: (experts,)` of log likelihoods; each gets its share.

    >>> gain, shares = np.array([0.0, -50.0]), np.array([0.01, 0.01])
    >>> follow(np.array([0.5, 0.5]), gain, shares).round(2).tolist()
    [0.99, 0.01]
    """
    w = weights * np.exp(gain - gain.max())
    found: Float64 = (1 - shares.sum()) * w / w.sum() + shares
    return found


def evidence(weights: Float64, gain: Float64) -> float:
    """Log likelihood of the mixture, where `gain: (experts,)` is each expert's."""
    most = float(gain.max())
    return most + math.log(float(weights @ np.exp(gain - most)))
