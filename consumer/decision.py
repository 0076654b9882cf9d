"""From scores to decisions: approve, have people review while the hour has room for it, decline.

An hour is one of event time, by the clock of the partition (its latest event time so far), so a row
that comes late takes a place of the hour it comes in. Places go to who comes first: a score cannot
wait for the hour's end to know whether a higher one follows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from consumer.columns import Float64, Int8, Int64

APPROVE, REVIEW, DECLINE = range(3)
NAMES = ("approve", "review", "decline")

HOUR_MS = 3_600_000


def decided(
    score: npt.ArrayLike, threshold: npt.ArrayLike, decline: npt.ArrayLike | None = None
) -> Int8:
    """(rows,) Decisions without a limit of reviews; `decline` None: nothing is reviewed.

    >>> decided([0.1, 0.5, 0.9], 0.5, 0.9).tolist()
    [0, 1, 2]
    """
    scores = np.asarray(score, np.float64)
    flagged = scores >= np.asarray(threshold, np.float64)
    sure = flagged if decline is None else scores >= np.asarray(decline, np.float64)
    return np.where(sure, DECLINE, np.where(flagged, REVIEW, APPROVE)).astype(np.int8)


def published(row: Mapping[str, Any]) -> tuple[int, int]:
    """Both decisions of a `labelled` message.

    One of a version before does not tell: flagged by its threshold alone, and declined.

    >>> published({"score": 0.6, "shadow_score": 0.4, "threshold": 0.5})
    (2, 0)
    """
    if "decision" in row:
        return NAMES.index(row["decision"]), NAMES.index(row["shadow_decision"])
    flagged = decided([row["score"], row["shadow_score"]], row["threshold"])
    return int(flagged[0]), int(flagged[1])


def share_of(per_hour: int, partition: int, partitions: int) -> int:
    """The places of one partition: all partitions' together are exactly `per_hour`.

    >>> [share_of(10, number, 4) for number in range(4)]
    [2, 3, 2, 3]
    """
    return per_hour * (partition + 1) // partitions - per_hour * partition // partitions


@dataclass(slots=True)
class Places:
    """One model's reviews in a partition."""

    used: int = 0  # in the hour
    reviewed: int = 0  # since the application began
    beyond: int = 0  # and what there was no room for

    def give(self, wanted: npt.NDArray[np.bool_], per_hour: int) -> npt.NDArray[np.bool_]:
        """(rows,) Which of the rows of one hour find no room."""
        full = wanted & (self.used + np.cumsum(wanted) > per_hour)
        beyond = int(np.count_nonzero(full))
        taken = int(np.count_nonzero(wanted)) - beyond
        self.used, self.reviewed, self.beyond = (
            self.used + taken,
            self.reviewed + taken,
            self.beyond + beyond,
        )
        return full


class Reviews:
    """The reviews of one partition: of the decisions made, and of those of the frozen model.

    >>> reviews = Reviews(per_hour=1)
    >>> rows = np.array([0.6, 0.7, 0.2])
    >>> decision, _, threshold = reviews.decide(rows, rows, 0.5, 0.9, 0.65, np.zeros(3, np.int64))
    >>> decision.tolist(), threshold.tolist(), reviews.healed.beyond
    ([1, 2, 0], [0.5, 0.65, 0.5], 1)
    """

    def __init__(self, per_hour: int | None) -> None:
        """`per_hour`: places of this partition; None: as many as are wanted."""
        self.per_hour = per_hour
        self.healed, self.frozen = Places(), Places()
        self.share: float | None = None  # of transactions that can be reviewed, see `batch_ended`
        self._rows = 0
        self._first = 0  # event time of the first row
        self._clock = 0

    def decide(
        self,
        score: Float64,
        shadow: Float64,
        threshold: float | Float64,
        decline: float | Float64,
        otherwise: float | Float64,
        event_time: Int64,
    ) -> tuple[Int8, Int8, float | Float64]:
        """Decisions of both models, and the threshold that each row was flagged by: all (rows,).

        `otherwise`: where a review is wanted and there is no room, declined from this score on,
        and approved below it; the threshold of such a row is that one.
        """
        healed, frozen = decided(score, threshold, decline), decided(shadow, threshold, decline)
        if self.per_hour is None or not len(score):
            return healed, frozen, threshold
        if not self._rows:
            self._first = self._clock = int(event_time[0])
        clocks = np.maximum(np.maximum.accumulate(event_time), self._clock)
        hours = clocks // HOUR_MS
        full = np.zeros((2, len(score)), bool)
        now = self._clock // HOUR_MS
        for hour in np.unique(hours).tolist():
            part = slice(*np.searchsorted(hours, [hour, hour + 1]).tolist())
            for number, (places, made) in enumerate(((self.healed, healed), (self.frozen, frozen))):
                if hour != now:
                    places.used = 0
                full[number, part] = places.give(made[part] == REVIEW, self.per_hour)
            now = hour
        self._rows += len(score)
        self._clock = int(clocks[-1])
        for made, scores, without in ((healed, score, full[0]), (frozen, shadow, full[1])):
            made[without] = decided(scores, otherwise)[without]
        return healed, frozen, np.where(full[0], otherwise, threshold)

    def batch_ended(self) -> None:
        """Measure which share of transactions so many reviews an hour are: of all so far.

        Where a batch ends and nowhere else, so that chunks change nothing. Of less than an hour
        the rows are taken for an hour's.
        """
        if self.per_hour is not None and self._rows:
            hours = max(1.0, (self._clock - self._first) / HOUR_MS)
            self.share = min(1.0, self.per_hour * hours / self._rows)

    def told(self) -> dict[str, int]:
        """For an event, since the application began; empty where there is no limit."""
        if self.per_hour is None:
            return {}
        return {
            "per_hour": self.per_hour,
            "reviewed": self.healed.reviewed,
            "beyond": self.healed.beyond,
            "frozen_reviewed": self.frozen.reviewed,
            "frozen_beyond": self.frozen.beyond,
        }

    def state(self) -> dict[str, Any]:
        """What `load` needs; empty where there is no limit."""
        if self.per_hour is None:
            return {}
        both = [[p.used, p.reviewed, p.beyond] for p in (self.healed, self.frozen)]
        return {
            "rows": self._rows,
            "first": self._first,
            "clock": self._clock,
            "share": self.share,
            "places": both,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        if not state or self.per_hour is None:
            return
        self._rows, self._first, self._clock = state["rows"], state["first"], state["clock"]
        self.share = state["share"]
        self.healed, self.frozen = (Places(*each) for each in state["places"])
