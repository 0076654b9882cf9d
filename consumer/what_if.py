"""Past decisions under other costs: were they the cheaper ones, where would thresholds lie?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from consumer.costs import Bill, Curve, break_even
from consumer.metrics import Confusion
from consumer.prequential import Prequential


@dataclass(frozen=True, slots=True)
class AtPrice:
    """One model, where a false alarm costs so much."""

    false_alarm: float
    cost: float  # of the decisions as they were made
    threshold: float  # the cheapest one for all of these rows, chosen on them
    cost_there: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """One model's decisions, in weight."""

    counts: Confusion
    missed: float  # money
    reviewed: float  # by weight
    prices: tuple[AtPrice, ...]


@dataclass(frozen=True, slots=True)
class WhatIf:
    """Both models on the same joined rows."""

    rows: int
    weight: float  # rows that they stand for
    healed: Outcome
    frozen: Outcome
    break_even: float | None  # price of a false alarm at which both cost the same
    cheaper_above: str | None  # which one is the cheaper above it


def what_if(rows: Prequential, false_alarm: Sequence[float], review: float | None = None) -> WhatIf:
    """Recompute what `rows` cost; `rows.missed` says what each missed fraud does.

    `review`: the price of one; None: what was reviewed counts as declined. The cheapest thresholds
    are of one for all, from which on rows are declined: nobody reviews.
    """
    healed, frozen = rows.bills(review)
    reviewed, frozen_reviewed = rows.reviewed()
    of_healed, of_frozen = rows.curves()
    even = break_even(healed, frozen)
    above = "healed" if healed.false_alarms < frozen.false_alarms else "frozen"
    return WhatIf(
        len(rows),
        float(rows.weight.sum()),
        _outcome(rows.healed(), healed, reviewed, of_healed, false_alarm),
        _outcome(rows.frozen(), frozen, frozen_reviewed, of_frozen, false_alarm),
        even,
        None if even is None else above,
    )


def _outcome(
    counts: Confusion, bill: Bill, reviewed: float, curve: Curve, false_alarm: Sequence[float]
) -> Outcome:
    prices = []
    for price in false_alarm:
        cost = curve.cost(price)
        prices.append(AtPrice(price, bill.at(price), curve.cheapest(price), float(cost.min())))
    return Outcome(counts, bill.missed, reviewed, tuple(prices))
