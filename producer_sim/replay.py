"""The rows of a file as transactions: which columns, which rows, what is wrong with the rest."""

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
    left = window.limit
    if left == 0:
        return
    clock = Clock()
    newest = 0
    for piece in source.pieces(columns.all, malformed):
        time = _read(clock.times, piece, columns.time, "is no time of the years 2000 to 2099")
        times = time.values
        wanted = ~time.bad & (times >= (window.start_ms or 0))
        if window.end_ms is not None:
            if not time.bad.all() and times[~time.bad].min() >= window.end_ms:
                return
            wanted &= times < window.end_ms
        ids = _read(cells.ids, piece, columns.id, "is no id")
        features = [_read(cells.numbers, piece, name, "is no number") for name in columns.features]
        labels = (
            _Cells("", np.full(len(piece), UNKNOWN, np.int8), np.zeros(len(piece), bool), "")
            if columns.label is None
            else _read(cells.labels, piece, columns.label, "is neither 0 nor 1")
        )
        wrong = _wrong(piece, time, wanted, [ids, labels, *features])
        for row in sorted(wrong):
            malformed(f"{source.place} {piece.places[row]}, {wrong[row]}")
        wanted[list(wrong)] = False

        rows = np.flatnonzero(wanted)
        if not len(rows):
            continue
        rows = rows[np.argsort(times[rows], kind="stable")][:left]
        oldest = int(times[rows[0]])
        if oldest < newest:
            raise DataError(
                f"{source.file} is not in order of time: {source.place} "
                f"{piece.places[int(rows[0])]} is of {_iso(oldest)}, after rows up to "
                f"{_iso(newest)}. Sort it by {columns.time!r} first."
            )
        newest = int(times[rows[-1]])
        yield Transactions(
            [ids.values[row] for row in rows.tolist()],
            times[rows],
            {each.name: each.values[rows] for each in features},
            labels.values[rows],
        )
        if left is not None:
            left -= len(rows)
            if left == 0:
                return


@dataclass(frozen=True, slots=True)
class _Cells:
    """One column of a piece, read as what it is to be."""

    name: str
    values: Any  # (rows,)
    bad: cells.Bad  # (rows,)
    why: str


def _read(
    read: Callable[[Column], tuple[Any, cells.Bad]], piece: Piece, name: str, why: str
) -> _Cells:
    try:
        return _Cells(name, *read(piece.columns[name]), why)
    except pa.ArrowException as error:
        raise DataError(f"column {name!r} {why}: {error}") from error


def _wrong(piece: Piece, time: _Cells, wanted: cells.Bad, rest: list[_Cells]) -> dict[int, str]:
    """The first cell of each row that cannot be read; without a time a row is always wanted."""
    found: dict[int, str] = {}
    for column in (time, *rest):
        bad = column.bad if column is time else column.bad & wanted
        for row in np.flatnonzero(bad).tolist():
            if row not in found:
                shown = cells.shown(piece.columns[column.name], row)
                found[row] = f"column {column.name!r}: {shown} {column.why}"
    return found


def _iso(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")


def _listed(names: Sequence[str | None]) -> str:
    listed = [name for name in names if name is not None]
    return ", ".join(listed[:40]) + (", ..." if len(listed) > 40 else "")
