"""How good scores were, over columns of rows: counts, rates, losses and money.

Throughout: `score: (rows,) float` in 0..1, `label: (rows,) 0 or 1`, `weight: (rows,) float` says
how many rows each one stands for (1 each if None). A row is flagged when `score >= threshold`;
`threshold` is one number, or `(rows,) float` where it changed between rows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from consumer import costs

FIGURES = ("accuracy", "precision", "recall", "f1", "log_loss", "average_precision", "brier")

# A float32 next to 1 lies 6e-8 below it, and a sigmoid in float32 gives exactly 0 or 1 beyond
# logits of about ±17: without a limit one sure mistake makes the mean infinite. 1e-7 is the
# decade above that resolution, and charges such a mistake -ln(1e-7) = 16.1 nats.
LOG_LOSS_CLIP = 1e-7

_Floats = npt.NDArray[np.float64]


class Confusion(NamedTuple):
    """Decisions against labels, in rows (or in weight).

    The rates are 0.0 where they are undefined, as in the published tables.
    """

    tp: float
    tn: float
    fp: float
    fn: float

    @property
    def accuracy(self) -> float:
        """Share of right decisions."""
        return _share(self.tp + self.tn, sum(self))

    @property
    def precision(self) -> float:
        """Share of frauds among the flagged."""
        return _share(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """Share of flagged among the frauds."""
        return _share(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return _share(2 * self.tp, 2 * self.tp + self.fp + self.fn)


def confusion(
    score: npt.ArrayLike,
    label: npt.ArrayLike,
    threshold: npt.ArrayLike,
    weight: npt.ArrayLike | None = None,
) -> Confusion:
    """Count right and wrong decisions.

    >>> confusion([0.9, 0.5, 0.2, 0.1], [1, 0, 1, 0], 0.5)
    Confusion(tp=1.0, tn=1.0, fp=1.0, fn=1.0)
    """
    fraud = np.asarray(label, bool)  # (rows,)
    flagged = np.asarray(score, np.float64) >= np.asarray(threshold, np.float64)  # (rows,)
    each = (flagged & fraud, ~(flagged | fraud), flagged & ~fraud, ~flagged & fraud)
    if weight is None:
        return Confusion(*(float(np.count_nonzero(rows)) for rows in each))
    weights = np.asarray(weight, np.float64)  # (rows,)
    return Confusion(*(float(weights[rows].sum()) for rows in each))


def log_loss(
    score: npt.ArrayLike, label: npt.ArrayLike, weight: npt.ArrayLike | None = None
) -> float | None:
    """Mean negative log likelihood of the labels, in nats; None without rows."""
    fraud = np.asarray(label, bool)  # (rows,)
    probability = np.clip(np.asarray(score, np.float64), LOG_LOSS_CLIP, 1 - LOG_LOSS_CLIP)
    return _mean(-np.log(np.where(fraud, probability, 1 - probability)), weight)


def brier(
    score: npt.ArrayLike, label: npt.ArrayLike, weight: npt.ArrayLike | None = None
) -> float | None:
    """Mean squared distance of score and label; None without rows.

    Source: Brier, "Verification of forecasts expressed in terms of probability", 1950.
    """
    return _mean((np.asarray(score, np.float64) - np.asarray(label, np.float64)) ** 2, weight)


def average_precision(
    score: npt.ArrayLike, label: npt.ArrayLike, weight: npt.ArrayLike | None = None
) -> float | None:
    """Area under the precision-recall steps, sum of (R_n - R_(n-1)) P_n; None without frauds.

    Rows of equal score enter at once: no order among them is made up.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.metrics.average_precision_score.html
    """
    scores = np.asarray(score, np.float64)  # (rows,)
    order = np.argsort(-scores, kind="stable")
    fraud = np.asarray(label, bool)[order]
    weights = _weights(weight, len(scores))[order]
    caught = np.cumsum(np.where(fraud, weights, 0.0))
    if not len(caught) or caught[-1] == 0.0:
        return None
    last_of_tie = np.append(np.diff(scores[order]) != 0, True)
    caught, flagged = caught[last_of_tie], np.cumsum(weights)[last_of_tie]  # (distinct scores,)
    recall = caught / caught[-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * (caught / flagged)))


def expected_cost(counts: Confusion, missed_fraud: float, false_alarm: float) -> float:
    """What the wrong decisions cost together, in the currency of the two prices.

    >>> expected_cost(Confusion(tp=51, tn=673, fp=177, fn=99), 5000, 200)
    530400.0
    """
    return float(counts.fn * missed_fraud + counts.fp * false_alarm)


def break_even(healed: Confusion, frozen: Confusion, missed_fraud: float) -> float | None:
    """Price of a false alarm at which both models cost the same, see `costs.break_even`.

    >>> frozen = Confusion(tp=128, tn=318, fp=532, fn=22)
    >>> round(break_even(Confusion(tp=51, tn=673, fp=177, fn=99), frozen, 5000), 2)
    1084.51
    """
    return costs.break_even(
        costs.Bill(healed.fn * missed_fraud, healed.fp),
        costs.Bill(frozen.fn * missed_fraud, frozen.fp),
    )


def figures(
    score: npt.ArrayLike,
    label: npt.ArrayLike,
    threshold: npt.ArrayLike,
    weight: npt.ArrayLike | None = None,
) -> dict[str, float | None]:
    """Rows (unweighted) and every figure of `FIGURES`; all but `rows` are None without rows."""
    flagged = np.asarray(score, np.float64) >= np.asarray(threshold, np.float64)
    return of_decisions(score, label, flagged, weight)


def of_decisions(
    score: npt.ArrayLike,
    label: npt.ArrayLike,
    decision: npt.ArrayLike,
    weight: npt.ArrayLike | None = None,
) -> dict[str, float | None]:
    """The same of rows that were decided already: flagged is whatever was not approved (0)."""
    rows = len(np.asarray(label))
    if rows == 0:
        return {"rows": 0, **dict.fromkeys(FIGURES)}
    counts = confusion(decision, label, 1, weight)
    return {
        "rows": rows,
        "accuracy": counts.accuracy,
        "precision": counts.precision,
        "recall": counts.recall,
        "f1": counts.f1,
        "log_loss": log_loss(score, label, weight),
        "average_precision": average_precision(score, label, weight),
        "brier": brier(score, label, weight),
    }


def _weights(weight: npt.ArrayLike | None, rows: int) -> _Floats:
    return np.ones(rows) if weight is None else np.asarray(weight, np.float64)


def _mean(value: _Floats, weight: npt.ArrayLike | None) -> float | None:
    if not len(value):
        return None
    if weight is None:
        return float(value.sum() / len(value))
    return float(np.average(value, weights=np.asarray(weight, np.float64)))


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0
