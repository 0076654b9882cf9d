"""Labelled rows as columns: every score in them was made before its label was known.

Source: Gama, Sebastião, Rodrigues, "On evaluating stream learning algorithms", 2013 (prequential).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from consumer import costs, metrics
from consumer.columns import Float64, Int8, Int64
from consumer.costs import Bill, Curve
from consumer.decision import REVIEW, published
from consumer.errors import DataError
from consumer.sections import Cost


@dataclass(frozen=True, slots=True)
class Prequential:
    """Labelled rows whose scores were made before the label was known, by partition and offset."""

    partition: Int64  # (rows,)
    offset: Int64  # (rows,)
    label: Int8  # (rows,) 0 or 1
    score: Float64  # (rows,) as published
    shadow: Float64  # (rows,) the frozen model's
    threshold: Float64  # (rows,) in force when the row was scored
    decision: Int8  # (rows,) see `decision`
    shadow_decision: Int8  # (rows,) what the frozen model would have decided
    weight: Float64  # (rows,) rows that each stands for
    missed: Float64  # (rows,) what it costs if it is a fraud and not flagged

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, rows: slice | Int64) -> Prequential:
        return Prequential(
            self.partition[rows],
            self.offset[rows],
            self.label[rows],
            self.score[rows],
            self.shadow[rows],
            self.threshold[rows],
            self.decision[rows],
            self.shadow_decision[rows],
            self.weight[rows],
            self.missed[rows],
        )

    def between(self, partition: int, first_offset: int, last_offset: int) -> slice:
        """Where the rows of an offset range lie, both ends included."""
        low, high = np.searchsorted(self.partition, [partition, partition + 1])
        ends = np.searchsorted(self.offset[low:high], [first_offset, last_offset + 1])
        return slice(int(low + ends[0]), int(low + ends[1]))

    def healed(self) -> metrics.Confusion:
        """Decisions that were in force."""
        return metrics.confusion(self.decision, self.label, REVIEW, self.weight)

    def frozen(self) -> metrics.Confusion:
        """Decisions of the frozen model, by the same rule."""
        return metrics.confusion(self.shadow_decision, self.label, REVIEW, self.weight)

    def figures(self) -> tuple[dict[str, float | None], dict[str, float | None]]:
        """Of both, as `metrics` gives them."""
        label, weight = self.label, self.weight
        return (
            metrics.of_decisions(self.score, label, self.decision, weight),
            metrics.of_decisions(self.shadow, label, self.shadow_decision, weight),
        )

    def reviewed(self) -> tuple[float, float]:
        """What people looked at, and would have with the frozen model, by weight."""
        return (
            float(self.weight[self.decision == REVIEW].sum()),
            float(self.weight[self.shadow_decision == REVIEW].sum()),
        )

    def bills(self, review: float | None) -> tuple[Bill, Bill]:
        """What both came to; `review`: the price of one."""
        label, missed, weight = self.label, self.missed, self.weight
        return (
            costs.bill(self.decision, label, missed, weight, review),
            costs.bill(self.shadow_decision, label, missed, weight, review),
        )

    def curves(self) -> tuple[Curve, Curve]:
        """What both would have come to at one threshold for all."""
        return (
            Curve.of(self.score, self.label, self.missed, self.weight),
            Curve.of(self.shadow, self.label, self.missed, self.weight),
        )


def prequential(rows: Iterable[Mapping[str, Any]], cost: Cost | None = None) -> Prequential:
    """Columns of `labelled` messages; of a row that came twice the last one counts.

    `cost`: says what a missed fraud costs; None: as the settings do where nobody has set them.

    Takes any iterable, one message at a time: a million rows are 57 MB here (160 MB while they are
    put in order), and gigabytes as dicts.

    Raises: DataError where a row lacks the feature that holds its amount.
    """
    partition, offset, label = array("q"), array("q"), array("b")
    score, shadow, threshold, weight = array("d"), array("d"), array("d"), array("d")
    decision, shadow_decision = array("b"), array("b")
    cost = cost or Cost()
    missed = array("d")
    for row in rows:
        partition.append(row["partition"])
        offset.append(row["offset"])
        label.append(row["is_fraud"])
        score.append(row["score"])
        shadow.append(row["shadow_score"])
        threshold.append(row["threshold"])
        decided, shadow_decided = published(row)
        decision.append(decided)
        shadow_decision.append(shadow_decided)
        weight.append(row["weight"])
        missed.append(_missed(row, cost))
    columns = Prequential(
        np.array(partition, np.int64),
        np.array(offset, np.int64),
        np.array(label, np.int8),
        np.array(score, np.float64),
        np.array(shadow, np.float64),
        np.array(threshold, np.float64),
        np.array(decision, np.int8),
        np.array(shadow_decision, np.int8),
        np.array(weight, np.float64),
        np.array(missed, np.float64),
    )
    order = np.lexsort((columns.offset, columns.partition))  # stable: the last to come stays last
    columns = columns[order]
    moved = (np.diff(columns.offset) != 0) | (np.diff(columns.partition) != 0)
    return columns[np.flatnonzero(np.append(moved, True)[: len(columns)])]


def _missed(row: Mapping[str, Any], cost: Cost) -> float:
    if cost.amount_feature is None:
        return cost.missed_fraud
    amount = row["features"].get(cost.amount_feature)
    if amount is None:
        raise DataError(
            f"{row['topic']}[{row['partition']}] offset {row['offset']}: its joined row has no "
            f"feature {cost.amount_feature!r}, which cost.amount_feature names; it has "
            f"{', '.join(row['features'])}"
        )
    return max(0.0, float(amount))
