"""What the plots are drawn from: metrics.csv as written, and what it cannot hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from consumer.columns import Float64, Int64
from consumer.costs import Curve
from consumer.export import Table
from consumer.stages import Clean, Stages


@dataclass(frozen=True, slots=True)
class Costs:
    """What the labelled rows would have cost at every threshold."""

    healed: Curve
    frozen: Curve
    prices: Sequence[float]  # of a false alarm
    in_force: float | None  # threshold; None where every amount has its own


@dataclass(frozen=True)
class Story:
    """A run as its plots need it."""

    table: Table
    limit: Float64  # (batches,) watch.fidi_z in force at each batch
    feature: str  # the one that moved most when z first passed its limit; "" if it never did
    snapshots: Sequence[Mapping[str, Any]]  # manifests
    restored: frozenset[int]  # versions that a rollback brought back
    decided: Mapping[str, Int64]  # (batches,) how many events of an action each batch led to
    totals: Mapping[str, int]  # how many events of an action there are, in a batch or not
    stages: Stages | None
    clean: Clean | None
    costs: Costs | None  # None without labelled rows

    @property
    def x(self) -> Float64:
        """Where a batch stands: its number, or its place in event time.

        Numbers do not do with several partitions, nor where a restart began to count anew.
        """
        number = self.table.numbers("batch")
        if len(set(self.table.texts("partition"))) == 1 and (np.diff(number) > 0).all():
            return number
        return np.arange(1.0, len(number) + 1)

    @property
    def x_label(self) -> str:
        """What `x` is."""
        size = self.table.numbers("rows")
        rows = f"{np.median(size):,.0f} rows each" if len(size) else "empty"
        partitions = len(set(self.table.texts("partition")))
        which = f" of {partitions} partitions" if partitions > 1 else ""
        return f"monitor batch{which} ({rows})"

    @property
    def labelled(self) -> bool:
        """Whether any batch has figures."""
        return bool(np.isfinite(self.table.numbers("accuracy")).any())

    @property
    def noise(self) -> str:
        """How far one batch's accuracy is off by chance: sqrt(p (1 - p) / n) at the median."""
        accuracy = self.table.numbers("accuracy")
        rows = self.table.numbers("labelled_rows")
        known = np.isfinite(accuracy)
        error = np.sqrt(accuracy[known] * (1 - accuracy[known]) / rows[known])
        return f"one batch alone is uncertain by ±{100 * np.median(error):.1f} points"
