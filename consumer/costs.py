"""What wrong decisions cost, and which decision is the cheapest.

A fraud that is approved costs what is missed: a fixed sum, or the transaction's amount. A
legitimate transaction that is declined costs a false alarm. A review costs its price, whatever the
label, for a person tells the two apart; without a price one that is reviewed counts as declined.
Money is in one currency throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from consumer.columns import Float32, Float64
from consumer.decision import APPROVE, REVIEW
from consumer.errors import SettingsError
from consumer.sections import Cost


class Bill(NamedTuple):
    """What decisions came to, but for the price of a false alarm.

    >>> Bill(missed=99 * 5000, false_alarms=177).at(200)
    530400.0
    """

    missed: float  # money lost to frauds that were approved
    false_alarms: float  # legitimate rows that were declined, by weight
    reviews: float = 0.0  # money that people's work cost

    def at(self, false_alarm: float) -> float:
        """The sum at this price of a false alarm."""
        return float(self.missed + self.reviews + self.false_alarms * false_alarm)


def bill(
    decision: npt.ArrayLike,
    label: npt.ArrayLike,
    missed: npt.ArrayLike,
    weight: npt.ArrayLike = 1.0,
    review: float | None = None,
) -> Bill:
    """Bill of decisions (see `decision`).

    All (rows,); `missed` and `weight` may be one number. `missed`: what each row costs if it is a
    fraud and approved. `review`: its price.
    """
    fraud, decisions = np.asarray(label, bool), np.asarray(decision)
    weights = np.broadcast_to(np.asarray(weight, np.float64), fraud.shape)
    lost = weights * np.asarray(missed, np.float64)
    approved, reviewed = decisions == APPROVE, paid(decisions, review)
    return Bill(
        float(lost[fraud & approved].sum()),
        float(weights[~fraud & ~approved & ~reviewed].sum()),
        float(weights[reviewed].sum()) * (review or 0.0),
    )


def paid(decision: npt.ArrayLike, review: float | None) -> npt.NDArray[np.bool_]:
    """(rows,) Which decisions are reviews that have a price."""
    reviewed: npt.NDArray[np.bool_] = np.asarray(decision) == REVIEW
    return reviewed if review is not None else np.zeros_like(reviewed)


def each(
    decision: npt.ArrayLike, label: npt.ArrayLike, missed: npt.ArrayLike, cost: Cost
) -> Float64:
    """(rows,) What each decision cost, at the first price of a false alarm."""
    fraud, approved = np.asarray(label, bool), np.asarray(decision) == APPROVE
    lost = approved * np.asarray(missed, np.float64)
    wrong = np.where(fraud, lost, ~approved * cost.false_alarm[0])
    return np.where(paid(decision, cost.review), cost.review or 0.0, wrong)


def break_even(healed: Bill, frozen: Bill) -> float | None:
    """Price of a false alarm at which both bills are equal.

    The one with fewer false alarms is the cheaper one above it. None where no price above 0 makes
    them equal: one of the two is then at least as cheap at every price.

    >>> frozen = Bill(missed=22 * 5000, false_alarms=532)
    >>> round(break_even(Bill(missed=99 * 5000, false_alarms=177), frozen), 2)
    1084.51
    """
    alarms_saved = frozen.false_alarms - healed.false_alarms
    if alarms_saved == 0:
        return None
    price = (healed.at(0) - frozen.at(0)) / alarms_saved
    return float(price) if price > 0 else None


@dataclass(frozen=True, slots=True)
class Curve:
    """The bill at every threshold that decides some row otherwise than its neighbours do.

    Of one threshold for all, from which on rows are declined: nobody reviews.
    """

    threshold: Float64  # (thresholds,) rising from 0, each at most 1
    missed: Float64  # (thresholds,) as in `Bill`
    false_alarms: Float64  # (thresholds,)

    @staticmethod
    def of(
        score: npt.ArrayLike,
        label: npt.ArrayLike,
        missed: npt.ArrayLike,
        weight: npt.ArrayLike = 1.0,
    ) -> Curve:
        """Of rows, as in `bill`. Thresholds lie half way between two scores that are neighbours.

        >>> curve = Curve.of([0.2, 0.4, 0.8], [0, 1, 1], 5000)
        >>> curve.threshold.round(2).tolist(), curve.missed.tolist(), curve.false_alarms.tolist()
        ([0.0, 0.3, 0.6, 0.9], [0.0, 0.0, 5000.0, 10000.0], [1.0, 0.0, 0.0, 0.0])
        """
        scores = np.asarray(score, np.float64)
        order = np.argsort(scores, kind="stable")
        fraud = np.asarray(label, bool)[order]
        weights = np.broadcast_to(np.asarray(weight, np.float64), scores.shape)[order]
        lost = weights * np.broadcast_to(np.asarray(missed, np.float64), scores.shape)[order]
        ends = np.append(scores[order], 1.0)  # to flag nothing: between the highest score and 1
        below = np.concatenate([[0.0], np.cumsum(np.where(fraud, lost, 0.0))])
        alarms = np.concatenate([[0.0], np.cumsum(np.where(fraud, 0.0, weights))])
        # A threshold flags from a row on where the row before it scores less; the first flags all.
        lower, upper = ends[:-1], ends[1:]
        apart = lower < upper
        half = lower + (upper - lower) / 2
        half = np.where(half > lower, half, upper)  # of two floats that are neighbours
        return Curve(
            np.append(0.0, half[apart]),
            np.append(0.0, below[1:][apart]),
            alarms[-1] - np.append(0.0, alarms[1:][apart]),
        )

    def cost(self, false_alarm: float) -> Float64:
        """(thresholds,) The sum at this price of a false alarm."""
        return self.missed + self.false_alarms * false_alarm

    def at(self, threshold: Float64, false_alarm: float) -> Float64:
        """(n,) The sum at thresholds that lie anywhere in 0..1.

        Between two of the curve's it is that of either, by a row's width: enough to draw.
        """
        place = np.searchsorted(self.threshold, threshold, side="right") - 1
        return self.cost(false_alarm)[place]

    def cheapest(self, false_alarm: float, below: float = np.inf) -> float:
        """The threshold under `below` of the least sum; of several the highest, which flags least.

        It is chosen on these rows: on others it will not be as cheap.
        """
        cost = self.cost(false_alarm)[self.threshold < below]
        return float(self.threshold[len(cost) - 1 - int(np.argmin(cost[::-1]))])


def amounts(cost: Cost, features: Sequence[str], x: Float32) -> Float64:
    """(rows,) What each row of `x: (rows, features)` costs if it is a fraud that is approved.

    A refund, an amount below 0, costs nothing.
    """
    if cost.amount_feature is None:
        return np.full(len(x), cost.missed_fraud)
    return np.maximum(x[:, features.index(cost.amount_feature)].astype(np.float64), 0.0)


def check(cost: Cost, features: Sequence[str]) -> None:
    """Does the model have the feature that holds the amount?

    Raises: SettingsError where it does not.
    """
    name = cost.amount_feature
    if name is not None and name not in features:
        raise SettingsError(
            f"setting cost.amount_feature: the model has no feature {name!r}; it has "
            f"{', '.join(features)}"
        )


def bounds(
    missed: npt.ArrayLike, false_alarm: float, review: float | None
) -> tuple[Float64, Float64]:
    """Where the cheapest decision goes from approve to review, and from review to decline.

    Of a score p that is a probability, approving is expected to cost `p * missed`, declining
    `(1 - p) * false_alarm`, and reviewing `review`, for a person tells the two apart. Where a
    review is never the cheapest (or `review` is None) both bounds are the same.

    >>> low, high = bounds([5000.0, 10.0], false_alarm=200, review=20)
    >>> low.round(3).tolist(), high.round(3).tolist()
    ([0.004, 0.952], [0.9, 0.952])

    Source: Elkan, "The foundations of cost-sensitive learning", 2001, section 1.
    """
    lost = np.asarray(missed, np.float64)
    total = lost + false_alarm
    # Where neither error costs anything nothing is flagged but a certainty.
    even = np.divide(false_alarm, total, out=np.ones_like(total), where=total > 0)
    if review is None:
        return even, even
    low = np.divide(review, lost, out=even.copy(), where=lost > 0)
    high = 1 - review / false_alarm if false_alarm > 0 else 0.0
    # The two lie either on both sides of `even`, or on the wrong ones.
    return np.minimum(low, even), np.maximum(high, even)
