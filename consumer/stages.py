"""Clean, broken, healed: the stages of a run, judged on the same labelled rows."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from consumer.errors import ModelError
from consumer.export import Table
from consumer.metrics import Confusion
from consumer.prequential import Prequential

# What [training] of a model directory may hold, the better evidence first, and what we call it.
_CLEAN = {"test": "clean test set", "holdout": "clean holdout"}


@dataclass(frozen=True, slots=True)
class Clean:
    """The model before any drift, as its directory says; a figure it lacks is absent."""

    name: str
    figures: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Stages:
    """Labelled rows after the first alarm; all of them where there was none.

    Beside the two models stand the two that know nothing: they show what a figure is worth.
    """

    since: Literal["alarm", "start"]
    rows: int
    healed: Confusion
    frozen: Confusion
    approve_all: Confusion
    flag_all: Confusion


def stages(table: Table, labelled: Prequential) -> Stages | None:
    """Judge the rows after the first alarm; None without labelled rows.

    `table`: metrics.csv, whose rows are in the order of event time.
    """
    if not len(labelled):
        return None
    after = labelled[_after_first_alarm(table, labelled)]
    rows = after if len(after) else labelled
    frauds = float(rows.weight[rows.label == 1].sum())
    legit = float(rows.weight[rows.label == 0].sum())
    return Stages(
        since="alarm" if len(after) else "start",
        rows=len(rows),
        healed=rows.healed(),
        frozen=rows.frozen(),
        approve_all=Confusion(tp=0.0, tn=legit, fp=0.0, fn=frauds),
        flag_all=Confusion(tp=frauds, tn=0.0, fp=legit, fn=0.0),
    )


def _after_first_alarm(table: Table, labelled: Prequential) -> Any:
    """Indices of rows in batches that ended after the first alarmed one, on any partition."""
    alarms = np.flatnonzero(table.flags("alarm"))
    chosen = np.zeros(len(labelled), bool)
    if len(alarms):
        partition = table.numbers("partition").astype(np.int64)
        first_offset = table.numbers("first_offset").astype(np.int64)
        later = slice(int(alarms[0]) + 1, None)
        for p in np.unique(partition[later]):
            begins = first_offset[later][partition[later] == p].min()
            chosen |= (labelled.partition == p) & (labelled.offset >= begins)
    return np.flatnonzero(chosen)


def clean(model: Path) -> Clean | None:
    """Figures of the clean model from `model.toml`: of its test set, else of its holdout.

    Raises: ModelError where the directory has no readable model.toml.
    """
    file = model / "model.toml"
    try:
        training = tomllib.loads(file.read_text(encoding="utf-8")).get("training", {})
    except OSError as error:
        raise ModelError(f"{file}: {error.strerror}. Name a model directory.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{file} is not TOML: {error}") from error
    for key, name in _CLEAN.items():
        if figures := training.get(key):
            return Clean(name, figures)
    return None
