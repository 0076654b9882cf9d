"""Healed against frozen on the same rows: so far, and in tumbling windows.

Source: Gama, Sebastião, Rodrigues, "On evaluating stream learning algorithms", 2013 (prequential).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from consumer import costs
from consumer.columns import Float32, Float64, Int8, Labelled
from consumer.metrics import LOG_LOSS_CLIP
from consumer.sections import Cost
from consumer.segments import Segments
from consumer.tally import Figures, Tally

# Rows that a segment stands for, and means over them; costs at the first price of a false alarm.
SEGMENT_FIGURES = ("rows", "log_loss", "cost", "frozen_log_loss", "frozen_cost")


@dataclass(frozen=True, slots=True)
class Measured:
    """One model's figures, and their standard errors where rows stand for more than themselves."""

    figures: Figures
    standard_errors: Figures | None

    @staticmethod
    def of(tally: Tally, cost: Cost, review_share: float | None) -> Measured:
        """What a tally says at these prices; `review_share`: of rows that people can look at."""
        fixed = cost.missed_fraud if cost.amount_feature is None else None
        prices = (fixed, cost.false_alarm, review_share, cost.review)
        errors = tally.standard_errors(*prices) if tally.sampled else None
        return Measured(tally.figures(*prices), errors)


@dataclass(frozen=True, slots=True)
class Window:
    """A full window, and everything up to its last row."""

    number: int  # from 0
    last: int  # index of the row that filled it, among those handed in
    healed: Measured
    frozen: Measured
    healed_so_far: Measured
    frozen_so_far: Measured
    segments: Sequence[Mapping[str, str | float]]  # mean log loss and cost, healed and frozen


class Running:
    """Prequential figures of both models over joined rows, in the order in which labels came.

    A window ends with exactly the row that fills it, whatever the chunks. A window is counted in
    rows that came, not in rows that they stand for.
    """

    def __init__(
        self,
        window_rows: int,
        cost: Cost,
        features: Sequence[str] = (),
        segments: Segments | None = None,
    ) -> None:
        """`features`: names of the rows' columns, `cost.amount_feature` among them if it is set."""
        self._segments = segments
        self.review_share: float | None = None  # of rows that people can look at, where known
        self._by_segment: dict[str, Float64] = {}  # sums over the window that is being filled
        self._window_rows = window_rows
        self._cost = cost
        self._features = features
        self._number = 0
        self._healed, self._frozen = Tally(), Tally()  # of the window that is being filled
        self._healed_before, self._frozen_before = Tally(), Tally()  # of all full ones

    def add(self, rows: Labelled) -> list[Window]:
        """Take joined rows; the windows that they filled."""
        windows = []
        start = 0
        while start < len(rows):
            stop = min(start + self.room, len(rows))
            part = slice(start, stop)
            label, weight = rows.is_fraud[part], rows.weight[part]
            missed = self._missed(rows.x[part])
            self._healed.add(rows.score[part], label, rows.decision[part], weight, missed)
            self._frozen.add(rows.shadow[part], label, rows.shadow_decision[part], weight, missed)
            self._add_segments(rows, part, missed)
            start = stop
            if self._healed.rows >= self._window_rows:
                windows.append(self._full(stop - 1))
        return windows

    @property
    def room(self) -> int:
        """How many rows fill the window, at least one.

        A window taken up from a longer setting ends with its next row.
        """
        return max(1, self._window_rows - self._healed.rows)

    def correct(self, rows: Labelled, was: Int8) -> None:
        """Take rows that were added before, with the label they have now; `was`: (rows,) the old.

        Only what is told "so far" is corrected. A window says what the labels were when it was
        filled: most of those that a correction concerns are long published.
        """
        changed = np.flatnonzero(rows.is_fraud != was)
        for score, decision, tally in (
            (rows.score[changed], rows.decision[changed], self._healed_before),
            (rows.shadow[changed], rows.shadow_decision[changed], self._frozen_before),
        ):
            weight, missed = rows.weight[changed], self._missed(rows.x[changed])
            tally.add(score, was[changed], decision, -weight, missed)
            tally.add(score, rows.is_fraud[changed], decision, weight, missed)

    def so_far(self) -> tuple[Measured, Measured]:
        """Healed and frozen, over all rows."""
        healed = self._healed_before.merged(self._healed)
        frozen = self._frozen_before.merged(self._frozen)
        return self._measured(healed), self._measured(frozen)

    def state(self) -> dict[str, Any]:
        """All of it as plain JSON: some 10 KB, 36 KB with every bin in use."""
        return {
            "number": self._number,
            "healed": self._healed.state(),
            "frozen": self._frozen.state(),
            "healed_before": self._healed_before.state(),
            "frozen_before": self._frozen_before.state(),
            "segments": {name: sums.tolist() for name, sums in self._by_segment.items()},
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        self._number = state["number"]
        self._healed = Tally.from_state(state["healed"])
        self._frozen = Tally.from_state(state["frozen"])
        self._healed_before = Tally.from_state(state["healed_before"])
        self._frozen_before = Tally.from_state(state["frozen_before"])
        kept = state.get("segments", {}).items()
        self._by_segment = {name: np.array(sums, np.float64) for name, sums in kept}

    def _add_segments(self, rows: Labelled, part: slice, missed: Float64) -> None:
        if self._segments is None:
            return
        label = rows.is_fraud[part] == 1
        columns = [np.ones(len(label))]
        for score, decision in (
            (rows.score[part], rows.decision[part]),
            (rows.shadow[part], rows.shadow_decision[part]),
        ):
            p = np.clip(score.astype(np.float64), LOG_LOSS_CLIP, 1 - LOG_LOSS_CLIP)
            cost = costs.each(decision, label, missed, self._cost)
            columns += [-np.log(np.where(label, p, 1 - p)), cost]
        values = np.stack(columns, axis=1) * rows.weight[part][:, None]  # (rows, sums)
        for name, chosen in self._segments.of(rows.x[part], rows.groups[part]):
            sums = self._by_segment.setdefault(name, np.zeros(len(columns)))
            # Row by row, as in a tally: chunks must not change the last digits.
            self._by_segment[name] = np.add.accumulate(np.vstack([sums, values[chosen]]))[-1]

    def _of_segments(self) -> list[dict[str, str | float]]:
        found: list[dict[str, str | float]] = []
        for name, (weight, *sums) in sorted(self._by_segment.items()):
            means = [float(each / weight) for each in sums]
            figures = dict(zip(SEGMENT_FIGURES, [float(weight), *means], strict=True))
            # A name may hold dots, which a search index takes for paths: it is no key.
            found.append({"name": name, **figures})
        self._by_segment = {}
        return found

    def _measured(self, tally: Tally) -> Measured:
        return Measured.of(tally, self._cost, self.review_share)

    def _missed(self, x: Float32) -> Float64:
        return costs.amounts(self._cost, self._features, x)

    def _full(self, last: int) -> Window:
        window = Window(
            self._number,
            last,
            self._measured(self._healed),
            self._measured(self._frozen),
            *self.so_far(),
            self._of_segments(),
        )
        self._number += 1
        self._healed_before = self._healed_before.merged(self._healed)
        self._frozen_before = self._frozen_before.merged(self._frozen)
        self._healed, self._frozen = Tally(), Tally()
        return window
