"""Moves the threshold where labelled rows say that another one is cheaper.

It gathers a window of scored rows and their labels, and is asked for one of two things: to propose
a threshold, or to say whether the last one that it put in force has made things worse. The window
is consumed by either, whatever the answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from consumer import costs
from consumer.columns import Float64
from consumer.costs import Curve
from consumer.decision import decided

# Fewer rows say nothing.
MIN_SAMPLES = 20
# The newest third of a window had no part in the choice, and judges it.
HOLDOUT_FRACTION = 0.34
# A row may cost so much more than under the threshold before, and it is still no regression.
REGRESSION_TOLERANCE = 0.0

Verdict = Literal["accept", "reject", "rollback", "stable", "insufficient_data", "no_prior"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered, and the figures it was decided on."""

    answer: Verdict
    rows: int  # in the window
    threshold: float  # in force from now on
    before: float  # in force until now
    other: float | None = None  # the one proposed, or that before the last accepted one
    error: float | None = None  # mean cost of a row under `before`
    other_error: float | None = None  # and under `other`, on the same rows

    @property
    def changed(self) -> bool:
        """Is another threshold in force?"""
        return self.answer in ("accept", "rollback")


class Controller:
    """Holds one threshold, the one before it, and the rows observed since the last question.

    >>> controller = Controller(threshold=0.5, missed_fraud=5000, false_alarm=200)
    >>> controller.propose().answer
    'insufficient_data'
    """

    def __init__(self, threshold: float, missed_fraud: float, false_alarm: float) -> None:
        self.threshold = threshold
        self.prior: float | None = None
        self._missed_fraud = missed_fraud
        self._false_alarm = false_alarm
        self._rows: Float64 = np.zeros((4, 0))  # score, label, weight, missed
        self._answers: Counter[str] = Counter()

    def __len__(self) -> int:
        """Rows in the window."""
        return int(self._rows.shape[1])

    def observe(
        self,
        score: npt.ArrayLike,
        label: npt.ArrayLike,
        weight: npt.ArrayLike = 1.0,
        missed: npt.ArrayLike | None = None,
    ) -> None:
        """Take rows whose labels have come, in that order.

        All (rows,), or one number for all. `missed`: what each costs if it is a fraud and not
        flagged; None: `missed_fraud`.
        """
        lost = self._missed_fraud if missed is None else missed
        columns = np.broadcast_arrays(*np.atleast_1d(score, label, weight, lost))
        more = np.array(columns, np.float64)  # (4, rows)
        self._rows = np.concatenate([self._rows, more], axis=1)

    def propose(self, below: float = np.inf) -> Answer:
        """Choose the cheapest threshold on the older rows of the window, `below` that bound.

        accept: the newer rows cost strictly less under it. reject: they do not. insufficient_data:
        under `MIN_SAMPLES` rows, or one of the two parts lacks frauds or lacks legitimate rows.
        """
        rows = self._taken()
        count = rows.shape[1]
        held = int(HOLDOUT_FRACTION * count)
        support, holdout = rows[:, : count - held], rows[:, count - held :]
        if count < MIN_SAMPLES or not _of_both(support) or not _of_both(holdout):
            return self._said(Answer("insufficient_data", count, self.threshold, self.threshold))
        score, label, weight, missed = support
        proposed = Curve.of(score, label, missed, weight).cheapest(self._false_alarm, below)
        before = self.threshold
        error, other = self._error(holdout, before), self._error(holdout, proposed)
        if not other < error:
            return self._said(Answer("reject", count, before, before, proposed, error, other))
        self.threshold, self.prior = proposed, before
        return self._said(Answer("accept", count, proposed, before, proposed, error, other))

    def evaluate_regression(self) -> Answer:
        """Judge the threshold in force by that before the last accepted one, on the whole window.

        rollback: rows cost more than under that one, by more than the tolerance; it is in force
        again. stable: they do not. no_prior: there is none. insufficient_data: as for `propose`.
        """
        rows = self._taken()
        count, before, prior = rows.shape[1], self.threshold, self.prior
        if prior is None:
            return self._said(Answer("no_prior", count, before, before))
        if count < MIN_SAMPLES or not _of_both(rows):
            return self._said(Answer("insufficient_data", count, before, before))
        error, other = self._error(rows, before), self._error(rows, prior)
        if not error > other + REGRESSION_TOLERANCE:
            return self._said(Answer("stable", count, before, before, prior, error, other))
        self.threshold, self.prior = prior, None
        return self._said(Answer("rollback", count, prior, before, prior, error, other))

    def audit(self) -> dict[str, Any]:
        """Where it stands, and how often it has answered what."""
        return {
            "threshold": self.threshold,
            "prior": self.prior,
            "waiting_rows": len(self),
            "answers": dict(self._answers),
        }

    def ordered(self, threshold: float) -> None:
        """Somebody else has set the threshold: the one before is nothing to go back to."""
        self.threshold, self.prior = threshold, None

    def state(self) -> dict[str, Any]:
        """All of it as plain JSON."""
        return {**self.audit(), "rows": self._rows.tolist()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.threshold, self.prior = state["threshold"], state["prior"]
        self._answers = Counter(state["answers"])
        self._rows = np.array(state["rows"], np.float64).reshape(4, -1)

    def _taken(self) -> Float64:
        rows, self._rows = self._rows, np.zeros((4, 0))
        return rows

    def _error(self, rows: Float64, threshold: float) -> float:
        score, label, weight, missed = rows
        cost = costs.bill(decided(score, threshold), label, missed, weight).at(self._false_alarm)
        return cost / float(weight.sum())

    def _said(self, answer: Answer) -> Answer:
        self._answers[answer.answer] += 1
        return answer


def _of_both(rows: Float64) -> bool:
    """Are there frauds and legitimate rows? Of one kind alone the cheapest threshold is 0 or 1."""
    return bool(rows[1].any() and not rows[1].all())
