"""Prequential figures of a stream without end, in a fixed number of sums.

Definitions are those of `metrics`. Weights: a row of a 1-in-n sample stands for n rows. Every sum
is one of weights or of their squares, so that a tally can be merged, stored and taken up again, and
a row can be taken out: added again with its weight negated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from consumer import bins as ranks
from consumer.bins import BINS, bin_of
from consumer.columns import Float64
from consumer.costs import Bill
from consumer.decision import APPROVE, REVIEW
from consumer.metrics import LOG_LOSS_CLIP, Confusion

Figures = dict[str, Any]  # by name: a number, None where undefined; `expected_cost` is a list

_TP, _TN, _FP, _FN = range(4)
_WEIGHT, _SQUARE = range(2)


class Tally:
    """Sums of one model's scores against their labels.

    >>> tally = Tally()
    >>> tally.add([0.9, 0.5, 0.2, 0.1], [1, 0, 1, 0], [2, 2, 0, 0])
    >>> tally.figures(5000, (15, 200), 0.25)["expected_cost"]
    [5015.0, 5200.0]
    """

    __slots__ = ("_bins", "_cells", "_losses", "_missed", "_reviewed", "_rows")

    def __init__(self) -> None:
        self._rows = 0
        self._cells: Float64 = np.zeros((2, 4))  # weight and its square, by cell of the confusion
        self._bins: Float64 = np.zeros((2, 2, BINS))  # weight and its square, by label and bin
        # Of log loss and of the Brier score: sum of w l, of w^2 l, of w^2 l^2.
        self._losses: Float64 = np.zeros((2, 3))
        self._missed: Float64 = np.zeros(2)  # of frauds not flagged: sum of w m, of (w m)^2
        self._reviewed: Float64 = np.zeros((2, 2))  # weight and its square, by label

    def add(
        self,
        score: npt.ArrayLike,
        label: npt.ArrayLike,
        decision: npt.ArrayLike,
        weight: npt.ArrayLike = 1.0,
        missed: npt.ArrayLike = 0.0,
    ) -> None:
        """Take rows in; `weight` below 0 takes them out again.

        `score`, `label`, `decision` (see `decision`): (rows,); the others may be one number.
        `missed`: what each row costs if it is a fraud and approved, where that is not one price
        for all.
        """
        scores = np.asarray(score, np.float64)  # (rows,)
        fraud = np.asarray(label, bool)  # (rows,)
        flagged = np.asarray(decision) != APPROVE
        reviewed = np.asarray(decision) == REVIEW
        weights = np.broadcast_to(np.asarray(weight, np.float64), scores.shape)
        squares = weights * np.abs(weights)  # of a row that is taken out: below 0 as well

        # Sums go strictly row by row. np.sum adds in pairs whose bounds depend on how many rows
        # come at once: a stream cut into other chunks would end in other last digits, and a replay
        # could not be compared with the run. np.add.at and np.add.accumulate keep the order.
        cell = np.where(fraud, np.where(flagged, _TP, _FN), np.where(flagged, _FP, _TN))
        place = fraud * BINS + bin_of(scores)
        for kind, values in ((_WEIGHT, weights), (_SQUARE, squares)):
            np.add.at(self._cells[kind], cell, values)
            np.add.at(self._bins[kind].reshape(-1), place, values)
            np.add.at(self._reviewed[kind], fraud[reviewed].astype(np.int64), values[reviewed])

        amount = np.broadcast_to(np.asarray(missed, np.float64), scores.shape) * (cell == _FN)
        for kind, values in ((_WEIGHT, weights * amount), (_SQUARE, squares * amount**2)):
            sums = np.add.accumulate(np.append(self._missed[kind], values))
            self._missed[kind] = sums[-1]

        probability = np.clip(scores, LOG_LOSS_CLIP, 1 - LOG_LOSS_CLIP)
        log_loss = -np.log(np.where(fraud, probability, 1 - probability))
        terms = np.empty((len(scores) + 1, 2, 3))
        terms[0] = self._losses
        for number, loss in enumerate((log_loss, (scores - fraud) ** 2)):
            terms[1:, number, 0] = weights * loss
            terms[1:, number, 1] = squares * loss
            terms[1:, number, 2] = squares * loss * loss
        self._losses = np.add.accumulate(terms, axis=0)[-1].copy()
        self._rows += int(np.sign(weights).sum())

    @property
    def rows(self) -> int:
        """Rows in it, each counted once."""
        return self._rows

    @property
    def counts(self) -> Confusion:
        """Decisions against labels, in weight."""
        return Confusion(*self._cells[_WEIGHT].tolist())

    @property
    def sampled(self) -> bool:
        """Does any row stand for more than itself? Weights are 1 or more."""
        return bool((self._cells[_WEIGHT] != self._cells[_SQUARE]).any())

    def figures(
        self,
        missed_fraud: float | None,
        false_alarm: Sequence[float],
        review_share: float | None,
        review: float | None = None,
    ) -> Figures:
        """The figures of `metrics`, and four more: `weight` (rows stood for), `reviewed` (of them),
        the recall among the `review_share` of rows that score highest (None: not known), and the
        expected cost at each price of a false alarm; all but `rows` and `weight` are None
        without rows. `missed_fraud`: None where each row came with its own. `review`: the
        price of one.

        For average precision and recall at capacity the rows of one bin are tied: both lie within
        .006 of the exact ones on streams of 20,000 rows with 1% to 50% frauds.
        """
        counts = self.counts
        weight = sum(counts)
        if self._rows <= 0 or weight <= 0:
            none = dict.fromkeys((*_RATES, "expected_cost", "reviewed"))
            return {"rows": 0, "weight": 0.0, **none}
        return {
            "rows": self._rows,
            "weight": weight,
            "accuracy": counts.accuracy,
            "precision": counts.precision,
            "recall": counts.recall,
            "f1": counts.f1,
            "log_loss": max(0.0, float(self._losses[0, 0] / weight)),
            "average_precision": ranks.average_precision(self._bins[_WEIGHT]),
            "recall_at_capacity": None
            if review_share is None
            else ranks.recall_at(self._bins[_WEIGHT], review_share),
            "brier": max(0.0, float(self._losses[1, 0] / weight)),
            "expected_cost": [self._bill(missed_fraud, review).at(p) for p in false_alarm],
            "reviewed": float(self._reviewed[_WEIGHT].sum()),
        }

    def standard_errors(
        self,
        missed_fraud: float | None,
        false_alarm: Sequence[float],
        review_share: float | None,
        review: float | None = None,
    ) -> Figures:
        """How far each figure may lie from that of all the rows that the sample stands for.

        Means: Hajek's estimator, sqrt(sum w^2 (l - mean)^2) / sum w. Expected cost: the same for a
        sum. Ratios and ranks: linearised, by what the weight of each row changes. It takes the
        sample as drawn from a stream without end, so it is not 0 at weight 1: there it says how far
        the figure of another such stream may lie. None where undefined. A cell that no row fell in
        has no spread: with a handful of frauds the errors are too small.

        Source: Särndal, Swensson, Wretman, "Model Assisted Survey Sampling", 1992, sections 5.5
        to 5.7.
        """
        counts = self.counts
        weight = sum(counts)
        if self._rows <= 0 or weight <= 0:
            return dict.fromkeys((*_RATES, "expected_cost"))
        squares = Confusion(*self._cells[_SQUARE].tolist())
        right, wrong = squares.tp + squares.tn, squares.fp + squares.fn
        accuracy = counts.accuracy
        variance = right * (1 - accuracy) ** 2 + wrong * accuracy**2

        flagged, frauds = counts.tp + counts.fp, counts.tp + counts.fn
        precision, recall, f1 = counts.precision, counts.recall, counts.f1
        bins = self._bins[_WEIGHT], self._bins[_SQUARE]
        missed = self._missed[_SQUARE] if missed_fraud is None else squares.fn * missed_fraud**2
        declined, reviews = squares.fp, 0.0
        if review is not None:
            declined -= float(self._reviewed[_SQUARE, 0])
            reviews = float(self._reviewed[_SQUARE].sum()) * review**2
        return {
            "accuracy": _root(variance) / weight,
            "precision": _of_ratio(
                squares.tp * (1 - precision) ** 2 + squares.fp * precision**2, flagged
            ),
            "recall": _of_ratio(squares.tp * (1 - recall) ** 2 + squares.fn * recall**2, frauds),
            "f1": _of_ratio(squares.tp * (2 - 2 * f1) ** 2 + wrong * f1**2, flagged + frauds),
            "log_loss": self._mean_error(0, weight),
            "average_precision": ranks.average_precision_error(*bins),
            "recall_at_capacity": None
            if review_share is None
            else ranks.recall_at_error(*bins, review_share),
            "brier": self._mean_error(1, weight),
            "expected_cost": [
                _root(missed + reviews + declined * price**2) for price in false_alarm
            ],
        }

    def _bill(self, missed_fraud: float | None, review: float | None) -> Bill:
        counts = self.counts
        missed = self._missed[_WEIGHT] if missed_fraud is None else counts.fn * missed_fraud
        if review is None:
            return Bill(float(missed), counts.fp)
        reviewed = self._reviewed[_WEIGHT]
        return Bill(float(missed), counts.fp - float(reviewed[0]), float(reviewed.sum()) * review)

    def _mean_error(self, loss: int, weight: float) -> float:
        first, once, twice = self._losses[loss].tolist()
        mean = first / weight
        total = sum(self._cells[_SQUARE].tolist())
        return _root(twice - 2 * mean * once + mean**2 * total) / weight

    def merged(self, other: Tally) -> Tally:
        """A tally of the rows of both."""
        both = Tally()
        both._rows = self._rows + other._rows
        both._cells = self._cells + other._cells
        both._bins = self._bins + other._bins
        both._losses = self._losses + other._losses
        both._missed = self._missed + other._missed
        both._reviewed = self._reviewed + other._reviewed
        return both

    def state(self) -> dict[str, Any]:
        """All of it as plain JSON; only bins with rows: [bin, weights by label, their squares]."""
        bins = self._bins.reshape(4, BINS)
        used = np.flatnonzero(bins.any(axis=0))
        return {
            "rows": self._rows,
            "cells": self._cells.tolist(),
            "losses": self._losses.tolist(),
            "missed": self._missed.tolist(),
            "reviewed": self._reviewed.tolist(),
            "bins": [
                [number, *sums]
                for number, sums in zip(used.tolist(), bins[:, used].T.tolist(), strict=True)
            ],
        }

    @staticmethod
    def from_state(state: Mapping[str, Any]) -> Tally:
        """The tally whose `state` this was, to the last bit."""
        tally = Tally()
        tally._rows = state["rows"]
        tally._cells = np.array(state["cells"], np.float64)
        tally._losses = np.array(state["losses"], np.float64)
        tally._missed = np.array(state.get("missed", (0, 0)), np.float64)
        # A version before did not know of reviews: its rows stay without.
        tally._reviewed = np.array(state.get("reviewed", ((0, 0), (0, 0))), np.float64)
        bins = tally._bins.reshape(4, BINS)
        for number, *sums in state["bins"]:
            bins[:, number] = sums
        return tally


_RATES = (
    "accuracy",
    "precision",
    "recall",
    "f1",
    "log_loss",
    "average_precision",
    "recall_at_capacity",
    "brier",
)


def _of_ratio(variance: float, whole: float) -> float | None:
    return _root(variance) / whole if whole > 0 else None


def _root(variance: float) -> float:
    return math.sqrt(max(0.0, variance))  # rounding may leave -1e-17 of a 0
