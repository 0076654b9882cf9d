"""Standard errors of ranks: what the weight of each row changes, told by changing it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from consumer.bins import (
    BINS,
    average_precision,
    average_precision_error,
    recall_at,
    recall_at_error,
)

STEP = 1e-6
weights = arrays(
    np.float64,
    (2, BINS),
    elements=st.integers(0, 3).map(float),
    fill=st.just(0.0),
).filter(lambda bins: bins[1].sum() > 0)


def by_differences(figure, bins, squares):
    """The error by definition: each weight a little up and down."""
    variance = 0.0
    for place in zip(*np.nonzero(squares), strict=True):
        moved = []
        for step in (STEP, -STEP):
            other = bins.copy()
            other[place] += step
            moved.append(figure(other))
        variance += ((moved[0] - moved[1]) / (2 * STEP)) ** 2 * squares[place]
    return variance**0.5


@given(weights, st.integers(1, 9))
def test_of_average_precision(bins, weight):
    squares = weight * bins

    found = average_precision_error(bins, squares)

    assert found == pytest.approx(by_differences(average_precision, bins, squares), abs=1e-6)


@given(weights, st.integers(1, 9), st.floats(0.001, 0.999))
def test_of_recall_at_a_share_that_cuts_a_bin(bins, weight, share):
    squares = weight * bins
    ends = np.cumsum(bins.sum(axis=0)[::-1])
    # Where the cut lies at the very end of a bin, the recall has a kink.
    if np.abs(ends - share * ends[-1]).min() < 1e-3:
        return

    found = recall_at_error(bins, squares, share)

    figure = by_differences(lambda other: recall_at(other, share), bins, squares)
    assert found == pytest.approx(figure, abs=1e-6)


def test_without_frauds_there_is_none():
    legit = np.zeros((2, BINS))
    legit[0, 7] = 3.0

    assert average_precision(legit) is average_precision_error(legit, legit) is None
    assert recall_at(legit, 0.5) is recall_at_error(legit, legit, 0.5) is None
