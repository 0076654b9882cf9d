"""Stages judged on files of rows: what a model or one of its snapshots does on rows held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich import box
from rich.table import Table

from consumer import metrics, restore, rows
from consumer.columns import Float32
from consumer.errors import RegistryError
from consumer.metrics import Confusion
from consumer.model_directory import Model
from consumer.registry import InForce
from consumer.score import Scorer
from consumer.sections import Cost
from consumer.settings import Settings


@dataclass(frozen=True, slots=True)
class Stage:
    """One line of a stage table."""

    name: str
    counts: Confusion


def scores(model: Model, table: rows.Rows, in_force: InForce | None) -> tuple[Float32, Float32]:
    """Scores of what is in force (None: the model as trained) and of the shadow, on a table."""
    scorer = Scorer(model)
    if in_force is None:
        return scorer.adapted(table.x, model.base_adapter)
    return scorer(table.x, in_force)


def judge(score: Float32, table: rows.Rows, threshold: float) -> Confusion:
    """Scores against the table's labels."""
    return metrics.confusion(score, table.label, threshold)


def constants(table: rows.Rows) -> list[Stage]:
    """What anyone gets for nothing: calling every row legitimate, or every row fraud."""
    zeros = np.zeros(len(table), np.float32)
    return [
        Stage("all legit", judge(zeros, table, 0.5)),
        Stage("all fraud", judge(zeros + 1, table, 0.5)),
    ]


def load(file: Path, model: Model) -> rows.Rows:
    """Labelled rows with the model's features."""
    return rows.load(file, model.features, "is_fraud")


def last_deployed(settings: Settings, model: Model) -> InForce:
    """What new batches would begin with.

    Raises: RegistryError where the registry topic holds none.
    """
    _, deployed = restore.from_topic(settings, model)
    if deployed is None:
        raise RegistryError(f"{settings.topic('registry')} holds no snapshot of this model")
    return deployed


def table(title: str, stages: Sequence[Stage], cost: Cost) -> Table:
    """A stage table for 80 columns; the last ones are the expected cost at each price of an FP."""
    shown = Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False
    )
    shown.add_column("stage", no_wrap=True)
    for heading in ("acc.", "prec.", "recall", "F1", "FP", "FN"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for false_alarm in cost.false_alarm:
        shown.add_column(f"FP ${false_alarm:g}", justify="right", no_wrap=True)
    for line in stages:
        counts = line.counts
        rates = (counts.accuracy, counts.precision, counts.recall, counts.f1)
        shown.add_row(
            line.name,
            *(f"{rate:.3f}" for rate in rates),
            f"{counts.fp:,.0f}",
            f"{counts.fn:,.0f}",
            *(
                f"${metrics.expected_cost(counts, cost.missed_fraud, price) / 1000:,.0f}k"
                for price in cost.false_alarm
            ),
        )
    return shown


def verdict(healed: Confusion, frozen: Confusion, cost: Cost) -> str:
    """Which is cheaper at each cost structure, and from which price of a false alarm on."""
    parts = []
    for price in cost.false_alarm:
        costs = [metrics.expected_cost(c, cost.missed_fraud, price) for c in (healed, frozen)]
        cheaper = "healed" if costs[0] < costs[1] else "frozen"
        parts.append(f"at FP ${price:g} {cheaper} is cheaper")
    even = metrics.break_even(healed, frozen, cost.missed_fraud)
    if even is not None:
        parts.append(f"they cost the same at an FP of ${even:,.0f}")
    return f"FN ${cost.missed_fraud:,.0f}: " + ", ".join(parts)
