"""The regimes a stream goes through: when each began, and what was in force in those that left.

Rows belong to a regime by their event time, whenever their labels come.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import safetensors.numpy
from numpy.typing import NDArray

from consumer.columns import Float32, Int64
from consumer.reference import Sample, fits
from consumer.registry import InForce, Snapshot

KEPT = 8  # regimes that can be recognised
SPANS = 100  # of event time, the newest
SAME_P = 0.02  # at least so likely the rows of today are of a regime, to take it for that


@dataclass(frozen=True, slots=True)
class Known:
    """A regime that was left: its last rows, and what was in force then."""

    sample: Float32  # (rows, features)
    in_force: InForce

    def to_bytes(self) -> bytes:
        """The value of its record: the rows, as safetensors."""
        return safetensors.numpy.save({"sample": np.ascontiguousarray(self.sample)})

    def manifest(self, model_version: str) -> dict[str, Any]:
        """What stands beside them."""
        return self.in_force.record(model_version)

    @staticmethod
    def of(value: bytes, manifest: Mapping[str, Any], snapshot: Snapshot) -> Known:
        """From a record, whose version is the snapshot's."""
        sample = safetensors.numpy.load(value)["sample"]
        return Known(sample, InForce.of(manifest, snapshot))


@dataclass(slots=True)
class Span:
    """Event time from a change on, up to the next one."""

    start_ms: int
    number: int  # of its regime
    raised: Mapping[str, float]  # by feature, by how much it exceeded its limit
    judged: bool = False  # labels have said whether it was a change


class Regimes:
    """Spans of event time, each of one regime; the same one may come again."""

    def __init__(self) -> None:
        self._spans = [Span(-(2**62), 0, {}, judged=True)]
        self._next = 1
        self._apart: set[tuple[int, int]] = set()  # regimes that labels have told apart
        self.left: int | None = None  # the one before the present one
        self.known: dict[int, Known] = {}

    @property
    def now(self) -> int:
        """The present regime."""
        return self._spans[-1].number

    @property
    def start_ms(self) -> int:
        """When it began."""
        return self._spans[-1].start_ms

    @property
    def raised(self) -> Mapping[str, float]:
        """By which features it was told from the one before."""
        return self._spans[-1].raised

    @property
    def was_guessed(self) -> bool:
        """Did a guess count, that no label had confirmed, when the present regime was left?"""
        known = self.known.get(self.now)
        return known is not None and known.in_force.provisional

    def of(self, time: Int64) -> Int64:
        """The regime of rows of event time `time: (rows,)`, each."""
        at = np.searchsorted([one.start_ms for one in self._spans], time, side="right") - 1
        return np.array([one.number for one in self._spans])[at]

    def are_other(self, numbers: Int64) -> NDArray[np.bool_]:
        """Which of these regimes, (rows,), labels have told apart from the present one?"""
        others = [sum(pair) - self.now for pair in self._apart if self.now in pair]
        return np.isin(numbers, others)

    def spans(self) -> list[tuple[int, float]]:
        """Of the present regime: from, and up to."""
        return [
            (one.start_ms, self._end(n))
            for n, one in enumerate(self._spans)
            if one.number == self.now
        ]

    def _end(self, index: int) -> float:
        return self._spans[index + 1].start_ms if index + 1 < len(self._spans) else math.inf

    def change(self, start_ms: int, raised: Mapping[str, float]) -> None:
        """A new regime began then."""
        # A change found late may lie before one found earlier.
        while len(self._spans) > 1 and self._spans[-1].start_ms >= start_ms:
            self._spans.pop()
        self.left = self.now
        self._spans.append(Span(start_ms, self._next, raised))
        self._next += 1
        # Rows of spans long gone are remembered by nobody; the first one has no beginning.
        self._spans = [self._spans[0], *self._spans[1:][-SPANS:]]
        here = {one.number for one in self._spans}
        self._apart = {pair for pair in self._apart if here.issuperset(pair)}

    def open_changes(self) -> Iterator[tuple[Span, list[tuple[int, float]], tuple[int, float]]]:
        """Changes not judged yet, oldest first: the spans of the regime before, and their own."""
        for n, one in enumerate(self._spans):
            if not one.judged:
                before = self._spans[n - 1].number
                earlier = [
                    (each.start_ms, self._end(m))
                    for m, each in enumerate(self._spans[:n])
                    if each.number == before
                ]
                yield one, earlier, (one.start_ms, self._end(n))

    def confirm(self, span: Span) -> None:
        """A change was one."""
        self._apart.add((self._before(span), span.number))

    def _before(self, span: Span) -> int:
        return self._spans[self._spans.index(span) - 1].number

    def merge(self, span: Span) -> int:
        """A change was none: its regime is the one before. Returns the number that is no more."""
        gone, number = span.number, self._before(span)
        for one in self._spans:
            if one.number == gone:
                one.number = number
        self._apart = {
            (number if a == gone else a, number if b == gone else b) for a, b in self._apart
        } - {(number, number)}
        if self.left == gone:
            self.left = number
        return gone

    def leave(self, known: Known) -> list[int]:
        """Keep what the present regime was; returns numbers that are forgotten for it."""
        self.known.pop(self.now, None)
        self.known[self.now] = known
        gone = list(self.known)[:-KEPT]
        for number in gone:
            del self.known[number]
        return gone

    def recognise(self, now: Float32, *, with_left: bool) -> tuple[int, float] | None:
        """The regime that rows of today, (rows, features), are most likely of, and how likely."""
        best: tuple[int, float] | None = None
        for number, known in self.known.items():
            if number == self.now or (number == self.left and not with_left):
                continue
            p = fits(now, Sample(known.sample, len(known.sample)))
            if p > SAME_P and (best is None or p > best[1]):
                best = (number, p)
        return best

    def back(self, number: int) -> Known:
        """The present regime is one that was left."""
        self._spans[-1].number = number
        self._spans[-1].judged = True
        return self.known[number]

    def state(self) -> dict[str, Any]:
        """What a restart needs, but for the known ones."""
        return {
            "spans": [[s.start_ms, s.number, dict(s.raised), s.judged] for s in self._spans],
            "next": self._next,
            "apart": sorted(self._apart),
            "left": self.left,
            "known": list(self.known),
        }

    def load(
        self,
        state: Mapping[str, Any],
        records: Mapping[int, tuple[bytes, Mapping[str, Any]]],
        snapshots: Mapping[int, Snapshot],
    ) -> None:
        """Go on from a state and the records of the known regimes."""
        self._spans = [Span(*each) for each in state["spans"]]
        self._next, self.left = state["next"], state["left"]
        self._apart = {(a, b) for a, b in state["apart"]}
        for number in state["known"]:
            if number in records:
                value, manifest = records[number]
                snapshot = snapshots.get(int(manifest["version"]))
                if snapshot is not None:
                    self.known[number] = Known.of(value, manifest, snapshot)


def record(known: Known, model_version: str, base_sha256: str, sha256: str) -> bytes:
    """The manifest of a known regime's record."""
    about = {**known.manifest(model_version), "base_sha256": base_sha256, "sha256": sha256}
    return orjson.dumps(about)
