"""Labelled rows from a CSV or Parquet file, whole in memory: for training and evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from consumer.columns import Float32
from consumer.errors import DataError

# Columns that are never features unless they are asked for by name.
NOT_FEATURES = frozenset({"transaction_id", "event_time"})


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows in time order where the file has a time column, else in file order."""

    features: tuple[str, ...]
    x: Float32  # (rows, features)
    label: Float32  # (rows,) 0 or 1

    def __len__(self) -> int:
        return len(self.label)


def load(file: Path, features: Sequence[str] | None, label: str, time: str | None = None) -> Rows:
    """Read a file.

    `features`: default every numeric column but id, time and label.
    `time`: column to order by; default `event_time` where the file has it.

    Raises: DataError, naming file, row and column.
    """
    table = _read(file)
    try:
        names = table.column_names
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: the names of its columns are no UTF-8: {error}") from error
    if not table.num_rows:
        raise DataError(f"{file}: no rows")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise DataError(f"{file}: more than one column {twice[0]!r}")
    _require(file, table, [label])
    if time is not None:
        _require(file, table, [time])
    elif "event_time" in table.column_names:
        time = "event_time"
    if features is None:
        skipped = NOT_FEATURES | {label, time}
        features = [
            field.name
            for field in table.schema
            if field.name not in skipped and _is_number(field.type)
        ]
        if not features:
            raise DataError(f"{file}: no numeric column besides {label!r}")
    _require(file, table, features)
    if label in features or len(set(features)) < len(features):
        raise DataError(f"{file}: a feature is named twice, or is the label: {', '.join(features)}")
    x = np.column_stack([_numbers(file, table, name) for name in features])
    y = _numbers(file, table, label)
    wrong = np.flatnonzero((y != 0) & (y != 1))
    if len(wrong):
        raise DataError(f"{file}: row {wrong[0] + 1}: {label} is {y[wrong[0]]:g}, not 0 or 1")
    if time is not None:
        column = table.column(time).combine_chunks()
        if column.null_count:
            raise DataError(f"{file}: column {time!r} has {column.null_count} empty cells")
        if pa.types.is_nested(column.type):
            raise DataError(f"{file}: column {time!r} is {column.type}: no order to follow")
        order = np.argsort(column.to_numpy(zero_copy_only=False), kind="stable")
        x, y = x[order], y[order]
    return Rows(tuple(features), x, y)


def _read(file: Path) -> pa.Table:
    try:
        if file.suffix.lower() in {".parquet", ".pq"}:
            return pyarrow.parquet.read_table(file)
        return pyarrow.csv.read_csv(file)
    except FileNotFoundError as error:
        raise DataError(f"{file}: no such file") from error
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{file}: {str(error).splitlines()[0]}") from error


def _require(file: Path, table: pa.Table, names: Sequence[str]) -> None:
    for name in names:
        if name not in table.column_names:
            raise DataError(
                f"{file}: no column {name!r}; it has {', '.join(table.column_names[:40])}"
            )


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    )


def _numbers(file: Path, table: pa.Table, name: str) -> Float32:
    column = table.column(name).combine_chunks()
    if not _is_number(column.type):
        raise DataError(f"{file}: column {name!r} is {column.type}, not numbers")
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0]) + 1
        raise DataError(f"{file}: row {row}: {name} is empty")
    with np.errstate(over="ignore"):  # beyond float32 it is infinite, and named below
        values: Float32 = column.to_numpy(zero_copy_only=False).astype(np.float32)
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        raise DataError(f"{file}: row {wrong[0] + 1}: {name} is {values[wrong[0]]}")
    return values
