"""The rows of a file as transactions: which columns, which rows, and what is wrong with the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from consumer.errors import DataError
from producer_sim import cells
from producer_sim.cells import Clock, Column
from producer_sim.files import Csv, Parquet, Piece, Report
from producer_sim.rows import UNKNOWN, Transactions

# Malformed rows named in full; a file with another thousand says no more than that.
NAMED = 10


@dataclass(frozen=True, slots=True)
class Columns:
    """What each column of a file is."""

    id: str
    time: str
    label: str | None  # None: transactions alone are published
    features: tuple[str, ...]

    @property
    def all(self) -> list[str]:
        """Every column that has to be read, once."""
        label = [] if self.label is None else [self.label]
        return list(dict.fromkeys([self.id, self.time, *label, *self.features]))


@dataclass(frozen=True, slots=True)
class Window:
    """Which rows are wanted."""

    start_ms: int | None = None
    end_ms: int | None = None  # exclusive
    limit: int | None = None  # rows


class Malformed:
    """Names the first rows that are left out, and counts them all."""

    def __init__(self, say: Report) -> None:
        self.rows = 0
        self._say = say

    def __call__(self, what: str) -> None:
        self.rows += 1
        if self.rows <= NAMED:
            self._say(f"left out: {what}")
        elif self.rows == NAMED + 1:
            self._say("left out: more rows, which are counted and not named")


def choose(
    source: Csv | Parquet,
    id_column: str | None,
    time_column: str | None,
    label_column: str | None,
    features: Sequence[str] | None,
) -> Columns:
    """Which column is what; None is the name in the training CSV, for features every other number.

    Raises: DataError for a column that is not there.
    """
    names = source.names
    for flag, given, default in (
        ("--id-column", id_column, "transaction_id"),
        ("--time-column", time_column, "event_time"),
    ):
        if given is None and default not in names:
            raise DataError(
                f"{source.file} has no column {default!r}: name it with {flag}. "
                f"It has {_listed(names)}"
            )
    id_column, time_column = id_column or "transaction_id", time_column or "event_time"
    if label_column is None and "is_fraud" in names:
        label_column = "is_fraud"
    others = {id_column, time_column, label_column}
    if features is None:
        numeric = source.numeric() - others
        features = [name for name in names if name in numeric]
    for name in (*others, *features):
        if name is not None and name not in names:
            raise DataError(f"{source.file} has no column {name!r}; it has {_listed(names)}")
    if not features:
        raise DataError(f"{source.file} has no column of numbers beside {_listed([*others])}")
    return Columns(id_column, time_column, label_column, tuple(features))


def transactions(
    source: Csv | Parquet, columns: Columns, window: Window, malformed: Malformed
) -> Iterator[Transactions]:
    """The wanted rows, in time order.

    A piece of the file that is not in order is sorted. `malformed` is told of each row that is
    left out because a cell cannot be read.

    Raises: DataError where a row is older than a piece before it.
    """
    clock = Clock()
    left = window.limit
    newest = 0
    for piece in source.pieces(columns.all, malformed):
        times, no_time = _read(clock.times, piece, columns.time)
        wanted = ~no_time & (times >= (window.start_ms or 0))
        if window.end_ms is not None:
            wanted &= times < window.end_ms
            if not no_time.all() and times[~no_time].min() >= window.end_ms:
                return
        ids, no_id = _read(cells.ids, piece, columns.id)
        features = {name: _read(cells.numbers, piece, name) for name in columns.features}
        is_fraud, no_label = np.full(len(piece), UNKNOWN, np.int8), np.zeros(len(piece), bool)
        if columns.label is not None:
            is_fraud, no_label = _read(cells.labels, piece, columns.label)

        wrong: dict[int, str] = {}
        for name, bad, why in (
            (columns.time, no_time, "is no time of the years 2000 to 2099"),
            (columns.id, wanted & no_id, "is no id"),
            (columns.label, wanted & no_label, "is neither 0 nor 1"),
            *((name, wanted & bad, "is no number") for name, (_, bad) in features.items()),
        ):
            for row in np.flatnonzero(bad):
                shown = cells.shown(piece.columns[name or ""], int(row))
                place = f"{source.place} {piece.places[row]}"
                wrong.setdefault(int(row), f"{place}, column {name!r}: {shown} {why}")
        for row in sorted(wrong):
            malformed(wrong[row])
        wanted[list(wrong)] = False

        rows = np.flatnonzero(wanted)
        rows = rows[np.argsort(times[rows], kind="stable")][:left]
        if not len(rows):
            continue
        if times[rows[0]] < newest:
            raise DataError(
                f"{source.file} is not in order of time: {source.place} {piece.places[rows[0]]} "
                f"is of {_iso(times[rows[0]])}, after rows up to {_iso(newest)}. "
                f"Sort it by {columns.time!r} first."
            )
        newest = times[rows[-1]]
        yield Transactions(
            [ids[row] for row in rows.tolist()],
            times[rows],
            {name: values[rows] for name, (values, _) in features.items()},
            is_fraud[rows],
        )
        if left is not None:
            left -= len(rows)
            if left == 0:
                return


def _read(
    read: Callable[[Column], tuple[Any, cells.Bad]], piece: Piece, name: str
) -> tuple[Any, cells.Bad]:
    try:
        return read(piece.columns[name])
    except pa.ArrowException as error:
        raise DataError(f"column {name!r} cannot be used so: {error}") from error


def _iso(time_ms: int) -> str:
    return datetime.fromtimestamp(int(time_ms) / 1000, UTC).isoformat(timespec="milliseconds")


def _listed(names: Sequence[str | None]) -> str:
    listed = [name for name in names if name is not None]
    return ", ".join(listed[:40]) + (", ..." if len(listed) > 40 else "")
