"""What counted before labels did, and what labels said of it once they came."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from consumer.columns import Float64, Int64

# By so many nats labels have spoken against it: the next time has to wait for them.
DISTRUST = -10.0
HALF_ROWS = 10_000  # labelled ones, in which half of what they said is forgotten
SPANS = 100  # of event time, the newest


@dataclass(slots=True)
class Span:
    """Event time in which it counted, after its start up to its stop."""

    start_ms: int
    stop_ms: int | None  # None: it does by now
    share: float  # of all weight
    cost: float = 0.0  # nats that rows of this time lost by it, should it be wrong

    def part_after(self, time_ms: int, now_ms: int) -> float:
        """How much of its time lies after `time_ms`: from 0 to 1."""
        if time_ms <= self.start_ms:
            return 1.0
        stop = now_ms if self.stop_ms is None else self.stop_ms
        return min(1.0, max(0.0, (stop - time_ms) / max(1, stop - self.start_ms)))


class Record:
    """Of one way to answer a change before its labels come."""

    def __init__(self) -> None:
        self._spans: list[Span] = []
        # By which labels spoke against it, net of what spoke for it since; at most 0.
        self.nats = 0.0

    @property
    def share(self) -> float:
        """What it counts by now."""
        is_open = bool(self._spans) and self._spans[-1].stop_ms is None
        return self._spans[-1].share if is_open else 0.0

    def charge(self, cost: float) -> None:
        """So many nats the rows since the last call have lost by it, should it be wrong."""
        if self.share:
            self._spans[-1].cost = round(self._spans[-1].cost + cost, 4)

    def note(self, time_ms: int, share: float) -> None:
        """Rows up to `time_ms` were scored as before, the next ones give it this share."""
        spans, before = self._spans, self.share
        if spans:  # a row may be late
            time_ms = max(time_ms, spans[-1].stop_ms or spans[-1].start_ms)
        if share == before:
            return
        if before:
            spans[-1].stop_ms = time_ms
        if share > 0:
            spans.append(Span(time_ms, None, share))
        del spans[:-SPANS]

    def shares(self, time: Int64) -> Float64:
        """What rows of event time `time: (rows,)` gave it, (rows,) from 0 to 1."""
        found = np.zeros(len(time))
        for span in self._spans:
            stop_ms = math.inf if span.stop_ms is None else span.stop_ms
            found[(time > span.start_ms) & (time <= stop_ms)] = span.share
        return found

    def judge(self, gain: float, rows: int) -> None:
        """Labels of so many rows have come, and of those among them that gave it a share.

        `gain` in nats: by how much it made these labels likelier.
        """
        kept = self.nats * 0.5 ** (rows / HALF_ROWS)
        self.nats = round(min(0.0, kept + gain), 4)

    def pending(self, labelled_ms: int, now_ms: int) -> float:
        """What rows later than `labelled_ms`, of which no label has come, may have lost; nats."""
        return sum(span.cost * span.part_after(labelled_ms, now_ms) for span in self._spans)

    def state(self) -> dict[str, Any]:
        """What a restart needs."""
        spans = [[s.start_ms, s.stop_ms, s.share, s.cost] for s in self._spans]
        return {"spans": spans, "nats": self.nats}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._spans = [Span(*each) for each in state["spans"]]
        self.nats = state["nats"]
