"""When a heal is worth it, and when there have been enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from consumer.experts.base import Memory
from consumer.hedge import gate
from consumer.hedge.memory import CAPACITY
from consumer.registry import Place

# Labelled rows have to have grown by so many, in share and in rows. Of very many rows a heal takes
# long, and a few more change little.
GROWN, STEP, MOST_STEP, MOST_SHARE = 0.15, 5, 500, 1 / 28
HOUR_MS = 3_600_000


@dataclass(slots=True)
class Due:
    """Labelled rows there are to learn from, and how many of them are newer than the last heal."""

    rows: int = 0
    fresh: int = 0

    def add(self, rows: int) -> None:
        """More of them."""
        self.rows = min(self.rows + rows, CAPACITY)
        self.fresh += rows

    @property
    def is_due(self) -> bool:
        """Are there so many new ones that a heal is worth it?"""
        few = max(STEP, GROWN * (self.rows - self.fresh))
        many = max(MOST_STEP, MOST_SHARE * self.rows)
        return self.rows >= gate.MIN_ROWS and self.fresh >= min(few, many)


class Budget:
    """Heals in an hour of event time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.begun: list[int] = []  # event times of the last hour's
        self.is_spent = False

    def allows(self, now_ms: int) -> bool:
        """Is there one left?"""
        self.begun = [begun for begun in self.begun if begun > now_ms - HOUR_MS]
        return len(self.begun) < self._most

    def spend(self, now_ms: int) -> None:
        """One begins."""
        self.begun.append(now_ms)


@dataclass(frozen=True, slots=True)
class Request:
    """A heal: where it was asked for, in which regime, and which rows are to teach."""

    place: Place
    regime: int
    wanted: Sequence[Memory]
