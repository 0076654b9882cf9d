"""Columns of a file as ids, times, numbers and labels, with the places of what is none.

A column is a list of texts (of a CSV file, or a text column of Parquet) or an Arrow array.
Each reading returns the values and a mask of the cells that could not be read, and raises
`pa.ArrowException` for an array of a type that can hold no such thing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from producer_sim import times
from producer_sim.rows import UNKNOWN, Int8, Int64

Column = Any  # list[str] | pa.Array, which has no types
Bad = NDArray[np.bool_]

LABELS = {"0": 0, "0.0": 0, "false": 0, "1": 1, "1.0": 1, "true": 1, "": UNKNOWN}


def column_of(array: pa.Array) -> Column:
    """An Arrow array as a column: text as texts, a missing one as the empty text."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        return array.fill_null("").to_pylist()
    return array


def shown(column: Column, row: int) -> str:
    """A cell as an error shows it."""
    cell = column[row] if isinstance(column, list) else column[row].as_py()
    if cell is None or cell == "":
        return "an empty cell"
    return repr(cell)[:60] if isinstance(cell, str) else str(cell)[:60]


def ids(column: Column) -> tuple[list[str], Bad]:
    """Ids as text; bad is a missing one."""
    if not isinstance(column, list):
        column = column.cast(pa.string()).fill_null("").to_pylist()
    return column, np.array([each == "" for each in column])


def numbers(column: Column) -> tuple[NDArray[Any], Bad]:
    """Numbers in the column's own type, of texts float64; bad is what is not finite."""
    if isinstance(column, list):
        values = _floats(column)
        return values, ~np.isfinite(values)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    elif pa.types.is_float16(column.type):
        column = column.cast(pa.float32())
    elif not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        column = column.cast(pa.float64())
    missing = column.is_null().to_numpy(zero_copy_only=False)
    values = column.fill_null(0).to_numpy(zero_copy_only=False)
    return values, missing | ~np.isfinite(values)


def labels(column: Column) -> tuple[Int8, Bad]:
    """0, 1, or UNKNOWN for an empty cell; bad is anything else."""
    if not isinstance(column, list):
        missing = column.is_null().to_numpy(zero_copy_only=False)
        values, _ = numbers(column)
        bad = ~missing & (values != 0) & (values != 1)
        return np.where(missing, UNKNOWN, np.where(bad, 0, values)).astype(np.int8), bad
    found = [LABELS.get(text.strip().lower()) for text in column]
    bad = np.array([each is None for each in found])
    return np.array([each or 0 for each in found], np.int8), bad


class Clock:
    """Reads the time column of one file; its first time decides how all are written.

    Dates are ISO 8601 or Arrow's, without a zone UTC. Numbers below 10^11 are epoch seconds, from
    there on epoch milliseconds. Bad is what is no time, or not of this century.
    """

    def __init__(self) -> None:
        self._unit_ms: int | None = None  # of numbers; 0: the texts are dates

    def times(self, column: Column) -> tuple[Int64, Bad]:
        """Epoch milliseconds; 0 where bad."""
        if isinstance(column, list):
            exact = self._of_texts(column)
        elif pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
            in_ms = column.cast(pa.timestamp("ms"), safe=False).cast(pa.int64())
            exact = in_ms.fill_null(0).to_numpy(zero_copy_only=False).astype(np.float64)
        else:
            values, missing = numbers(column)
            exact = self._of_numbers(np.where(missing, np.nan, values))
        bad = ~((exact >= times.EARLIEST_MS) & (exact < times.LATEST_MS))  # NaN is neither
        return np.rint(np.where(bad, 0, exact)).astype(np.int64), bad

    def _of_texts(self, column: list[str]) -> NDArray[np.float64]:
        if self._unit_ms is None and not np.isfinite(_floats(column)).any():
            self._unit_ms = 0
        if self._unit_ms != 0:
            return self._of_numbers(_floats(column))
        return np.array([_date_ms(text) for text in column])

    def _of_numbers(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        finite = values[np.isfinite(values)]
        if self._unit_ms is None and len(finite):
            self._unit_ms = times.epoch_unit_ms(finite[0])
        return values * (self._unit_ms or 1)


def _date_ms(text: str) -> float:
    try:
        return times.iso_ms(text.strip())
    except (ValueError, OverflowError):
        return np.nan


def _floats(column: list[str]) -> NDArray[np.float64]:
    """The number of each text, NaN where there is none."""
    try:
        # A third of the time of Python's float, and stricter: what it reads, it reads the same.
        values: NDArray[np.float64] = pa.array(column, pa.string()).cast(pa.float64()).to_numpy()
    except pa.ArrowInvalid:
        values = np.array([_float(text) for text in column])
    return values


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan
