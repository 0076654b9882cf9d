"""Boosted trees around the frozen log odds: rules with corners, which a smooth correction misses.

Every level of a tree asks one question of all its rows, so that a tree is a few questions and a
value for each way of answering them. Questions are of raw features only: of computed ones the last
bits depend on the batch, and so would the answer.

Source: Friedman, "Greedy function approximation" (2001); Prokhorenkova et al., "CatBoost" (2018),
section 4, for the shape of the trees.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from consumer.columns import Float32, Float64
from consumer.experts.base import Base, Fitted, Learning, Memory, State, View
from consumer.experts.descent import platt
from consumer.model import FARTHEST

TREES, DEPTH, RATE = 64, 4, 0.25
BINS = 32  # of each feature, as many rows in each
RIDGE = 3.0  # on a leaf's value, in rows of the greatest curvature times four
PATIENCE, LEAST_GAIN = 10, 1e-5  # trees without a gain on held rows, and what is one


class Trees:
    """`slope * frozen + bias + a value of each tree`: 64 trees of four questions, 16 values."""

    name = "trees"
    learns_from: Memory = "regime"

    def cold(self, base: Base) -> State:
        """The frozen log odds alone."""
        return _state(np.zeros((0, DEPTH), np.int64), [], np.zeros((0, 2**DEPTH)), (1.0, 0.0))

    def logit(self, state: State, view: View) -> Tensor:
        """Log odds of fraud, (rows,)."""
        # Question by question, each of all rows: what lies together is compared, and added up as
        # bytes, dozens at once.
        asked = view.x.T.contiguous().index_select(0, state["feature"].T.reshape(-1))
        yes = (asked > state["above"].T.reshape(-1, 1)).view(torch.uint8)
        answers = yes.view(DEPTH, TREES, -1)
        way = answers[-1]  # (trees, rows)
        for k in reversed(range(DEPTH - 1)):
            way = way * 2 + answers[k]
        boost = state["leaf"].gather(1, way.to(torch.int64)).sum(dim=0)
        logit: Tensor = state["slope"] * view.frozen + state["bias"] + boost
        return logit.clamp(-FARTHEST, FARTHEST)

    def fit(self, base: Base, start: State, rows: Learning, seed: int) -> Fitted:
        """Afresh each time, as many trees as the held rows want."""
        with torch.no_grad():
            frozen = base.of(torch.tensor(rows.x)).numpy().astype(np.float64)
        y, weight = rows.y.astype(np.float64), rows.weight.astype(np.float64)
        train = ~rows.held
        slope, bias = platt(frozen[train], y[train], weight[train])
        cuts = [_cuts(column) for column in rows.x[train].T]
        # A row is above a cut where its bin is beyond it.
        bins = np.column_stack(
            [
                np.searchsorted(c, column, side="left")
                for c, column in zip(cuts, rows.x.T, strict=True)
            ]
        )
        logit = slope * frozen + bias

        def look() -> float:
            held = rows.held if rows.held.any() else train
            z = logit[held]
            return float(np.average(np.logaddexp(0, z) - y[held] * z, weights=weight[held]))

        trees: list[tuple[list[tuple[int, int]], Float64]] = []
        best, kept = look(), 0
        while len(trees) < TREES and len(trees) - kept < PATIENCE:
            p = 1 / (1 + np.exp(-logit))
            gradient, curvature = weight * (y - p), weight * p * (1 - p)
            questions, way = _grow(bins, gradient * train, curvature * train, cuts)
            size = 2**DEPTH
            down = np.bincount(way[train], curvature[train], size) + RIDGE
            value = RATE * np.bincount(way[train], gradient[train], size) / down
            logit = logit + value[way]
            trees.append((questions, value))
            if (now := look()) < best - LEAST_GAIN:
                best, kept = now, len(trees)
        chosen = trees[:kept]
        feature = np.array([[f for f, _ in q] for q, _ in chosen], np.int64).reshape(-1, DEPTH)
        above = [[float(cuts[f][c]) for f, c in q] for q, _ in chosen]
        leaf = np.array([value for _, value in chosen]).reshape(-1, 2**DEPTH)
        state = _state(feature, above, leaf, (slope, bias))
        judged = np.flatnonzero(rows.held)
        with torch.no_grad():
            found = self.logit(state, View.of(base, rows.x[judged]))
        return Fitted(state, judged, found.numpy())


def _cuts(column: Float32) -> Float32:
    """Values between which as many rows lie, (cuts,): at most `BINS` - 1."""
    found: Float32 = np.unique(
        np.quantile(column, np.linspace(0, 1, BINS + 1)[1:-1], method="lower")
    )
    return found


def _grow(
    bins: NDArray[np.int64], gradient: Float64, curvature: Float64, cuts: Sequence[Float32]
) -> tuple[list[tuple[int, int]], NDArray[np.int64]]:
    """The questions (feature, cut) that gain most, one a level, and each row's way, (rows,)."""
    rows, width = bins.shape
    way = np.zeros(rows, np.int64)
    real = np.arange(BINS) < np.array([len(c) for c in cuts])[:, None]  # (features, bins)
    place = bins + np.arange(width) * BINS
    g, h = np.repeat(gradient, width), np.repeat(curvature, width)
    questions = []
    for level in range(DEPTH):
        leaves = 2**level
        at = (way[:, None] * (width * BINS) + place).ravel()
        shape = (leaves, width, BINS)
        below, low = (
            np.bincount(at, each, leaves * width * BINS).reshape(shape).cumsum(axis=2)
            for each in (g, h)
        )
        above, high = below[..., -1:] - below, low[..., -1:] - low
        gain = (below**2 / (low + RIDGE) + above**2 / (high + RIDGE)).sum(axis=0)
        feature, cut = divmod(int(np.where(real, gain, -1.0).argmax()), BINS)
        questions.append((feature, cut))
        way += (bins[:, feature] > cut) * leaves
    return questions, way


def _state(
    feature: NDArray[np.int64],
    above: Sequence[Sequence[float]],
    leaf: Float64,
    of: tuple[float, float],
) -> State:
    """Always of one shape: trees that are not needed say nothing."""
    count = len(feature)
    state = {
        "feature": torch.zeros(TREES, DEPTH, dtype=torch.int64),
        "above": torch.zeros(TREES, DEPTH),
        "leaf": torch.zeros(TREES, 2**DEPTH),
        "slope": torch.tensor(of[0], dtype=torch.float32),
        "bias": torch.tensor(of[1], dtype=torch.float32),
    }
    if count:
        state["feature"][:count] = torch.from_numpy(feature)
        state["above"][:count] = torch.tensor(above, dtype=torch.float32)
        state["leaf"][:count] = torch.from_numpy(leaf.astype(np.float32))
    return state
