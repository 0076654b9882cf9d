"""What a cell is worth: regret closed, cost, average precision, and when the change was noticed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.study.cells import Run
from consumer import metrics
from consumer.columns import Float64, Int8
from producer_sim.scenarios import CLEAN_BATCHES
from producer_sim.stream import BATCH_ROWS

MISSED, FALSE_ALARM = 5_000.0, 200.0
# The score above which flagging is cheaper than not; calibrated scores may be compared with it.
THRESHOLD = FALSE_ALARM / (MISSED + FALSE_ALARM)
CLEAN_ROWS = CLEAN_BATCHES * BATCH_ROWS
END_ROWS = 30 * BATCH_ROWS  # of the stream, for average precision


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one cell, over the drifted batches."""

    scenario: str
    labels: str
    policy: str
    seed: int
    log_loss: float
    frozen_log_loss: float
    oracle_log_loss: float
    late_log_loss: float  # of the oracle that learns of each change a batch late
    cost: float
    frozen_cost: float
    oracle_cost: float
    late_cost: float
    average_precision: float  # at the end of the stream
    frozen_average_precision: float
    late_average_precision: float
    harm: float  # log loss over the whole stream, less the frozen model's
    noticed: int | None  # batches from the change to the first event that says so
    false_alarms: int  # regimes said to begin among the clean batches
    heals: int
    rollbacks: int
    abstained: int
    signal_lost: int

    @property
    def regret_closed(self) -> float:
        """Share of the gap between frozen and oracle that is closed, in log loss."""
        return _share(self.frozen_log_loss, self.log_loss, self.oracle_log_loss)

    @property
    def cost_closed(self) -> float:
        """The same in cost."""
        return _share(self.frozen_cost, self.cost, self.oracle_cost)

    @property
    def late_regret_closed(self) -> float:
        """By the oracle that learns of each change a batch late, in log loss."""
        return _share(self.frozen_log_loss, self.late_log_loss, self.oracle_log_loss)

    @property
    def late_cost_closed(self) -> float:
        """The same in cost."""
        return _share(self.frozen_cost, self.late_cost, self.oracle_cost)

    def plain(self) -> dict[str, Any]:
        """For a file."""
        return {**asdict(self), "regret_closed": self.regret_closed}


def _share(frozen: float, healed: float, oracle: float) -> float:
    return (frozen - healed) / (frozen - oracle) if frozen != oracle else 0.0


def figures(run: Run, scenario: str, labels: str, policy: str, seed: int) -> Figures:
    """Judge a cell against the truth."""
    drifted, end = slice(CLEAN_ROWS, None), slice(-END_ROWS, None)
    told = [(e["event"]["action"], e["reflexive"]) for e in run.events]
    changes = [about["offset"] // BATCH_ROWS + 1 for a, about in told if a == "regime-changed"]
    noticed = [batch - CLEAN_BATCHES for batch in changes if batch > CLEAN_BATCHES]

    def count(action: str) -> int:
        return sum(a == action for a, _ in told)

    def loss(p: Float64) -> float:
        return float(log_losses(p, run.y)[drifted].mean())

    def cost(p: Float64) -> float:
        return float(costs(p, run.y)[drifted].sum())

    def precision(p: Float64) -> float:
        return float(metrics.figures(p[end], run.y[end], 0.5)["average_precision"] or 0.0)

    return Figures(
        scenario,
        labels,
        policy,
        seed,
        loss(run.healed),
        loss(run.frozen),
        loss(run.oracle),
        loss(run.late),
        cost(run.healed),
        cost(run.frozen),
        cost(run.oracle),
        cost(run.late),
        precision(run.healed),
        precision(run.frozen),
        precision(run.late),
        float((log_losses(run.healed, run.y) - log_losses(run.frozen, run.y)).mean()),
        noticed[0] if noticed else None,
        len(changes) - len(noticed),
        count("heal-deployed"),
        count("rollback"),
        count("cannot-heal"),
        count("signal-lost"),
    )


def log_losses(p: Float64, y: Int8) -> Float64:
    """Of each row, (rows,)."""
    p = np.clip(p, 1e-7, 1 - 1e-7)
    found: Float64 = -np.where(y == 1, np.log(p), np.log1p(-p))
    return found


def costs(p: Float64, y: Int8) -> Float64:
    """Of each row, (rows,), where scores at or above the cheapest threshold are flagged."""
    flagged = p >= THRESHOLD
    found: Float64 = MISSED * (~flagged & (y == 1)) + FALSE_ALARM * (flagged & (y == 0))
    return found
