"""The regimes a stream goes through: when each began, and what was in force in those that left.

Rows belong to a regime by their event time, whenever their labels come.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
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


class Regimes:
    """Spans of event time, each of one regime; the same one may come again."""

    def __init__(self) -> None:
        self._starts: list[int] = [-(2**62)]
        self._numbers: list[int] = [0]
        self._next = 1
        self.left: int | None = None  # the one before the present one
        self.known: dict[int, Known] = {}

    @property
    def now(self) -> int:
        """The present regime."""
        return self._numbers[-1]

    @property
    def start_ms(self) -> int:
        """When it began."""
        return self._starts[-1]

    def is_now(self, time: Int64) -> NDArray[np.bool_]:
        """Which rows of event time `time: (rows,)` belong to the present regime."""
        at = np.searchsorted(self._starts, time, side="right") - 1
        found: NDArray[np.bool_] = np.asarray(self._numbers)[at] == self.now
        return found

    def spans(self) -> list[tuple[int, float]]:
        """Of the present regime: from, and up to."""
        ends = [*self._starts[1:], math.inf]
        spans = zip(self._starts, ends, self._numbers, strict=True)
        return [(start, end) for start, end, number in spans if number == self.now]

    def change(self, start_ms: int) -> None:
        """A new regime began then."""
        self.left = self.now
        # A change found late may lie before one found earlier.
        while len(self._starts) > 1 and self._starts[-1] >= start_ms:
            self._starts.pop()
            self._numbers.pop()
        self._starts.append(start_ms)
        self._numbers.append(self._next)
        self._next += 1
        # Rows of spans long gone are remembered by nobody; the first one has no beginning.
        self._starts = [self._starts[0], *self._starts[1:][-SPANS:]]
        self._numbers = self._numbers[-len(self._starts) :]

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
        self._numbers[-1] = number
        return self.known[number]

    def state(self) -> dict[str, Any]:
        """What a restart needs, but for the known ones."""
        return {
            "starts": self._starts,
            "numbers": self._numbers,
            "next": self._next,
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
        self._starts, self._numbers = list(state["starts"]), list(state["numbers"])
        self._next, self.left = state["next"], state["left"]
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
