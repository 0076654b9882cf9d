"""Declared groups of transactions: no heal may buy its gain from one of them.

A segment is a band of a feature's values (`cuts`), or one of its whole numbers, 0 to 49. Or it is
told by a column of the message that is no feature: a band of its numbers, or one of the declared
`values`. Those not declared are one segment together, `=other`, and so are rows without a value, or
with one of another kind, `=unknown`.

Columns of the message travel with the row as codes, a byte each: 0 is unknown, then bands or
declared values in their order, then other. So nothing grows with the values that come.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from consumer.columns import Float32, UInt8
from consumer.decode import path
from consumer.errors import SettingsError
from consumer.sections import Segment

CATEGORIES = 50
UNKNOWN = 0


class Segments:
    """Which rows are of which segment."""

    def __init__(self, columns: Mapping[str, Segment], features: Sequence[str]) -> None:
        """Raises: SettingsError where a column names a feature that the model does not have."""
        for name, column in columns.items():
            if column.feature is not None and column.feature not in features:
                raise SettingsError(
                    f"setting segments.{name}: no feature {column.feature!r} among "
                    f"{', '.join(features)}; a column of the message is named by its path"
                )
        self._of_features = [
            (name, list(features).index(column.feature), np.array(column.cuts, np.float32))
            for name, column in columns.items()
            if column.feature is not None
        ]
        self._of_messages = [
            _Column(name, column) for name, column in columns.items() if column.feature is None
        ]
        self._known = {
            name: (place, code)
            for place, column in enumerate(self._of_messages)
            for code, name in enumerate(column.names)
        }

    @property
    def columns(self) -> int:
        """How many are told by the message."""
        return len(self._of_messages)

    @property
    def declared(self) -> int:
        """Hash of what the codes mean: those of another declaration say nothing."""
        names = [name for column in self._of_messages for name in column.names]
        return int(xxhash.xxh32_intdigest("\0".join(names).encode()))

    def read(self, messages: Sequence[Any]) -> UInt8:
        """(rows, columns) Codes of decoded messages; what is odd is unknown, never an error."""
        codes = [[column.code(message) for message in messages] for column in self._of_messages]
        return np.array(codes, np.uint8).T.reshape(len(messages), self.columns)

    def of(self, x: Float32, groups: UInt8) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        """Each segment that some rows are of, and which: (rows,).

        `x: (rows, features)`, `groups: (rows, columns)`.
        """
        for name, feature, cuts in self._of_features:
            values = x[:, feature]
            if len(cuts):
                code = np.searchsorted(cuts, values, side="right")
                names = [f"{name}{band}" for band in _bands(cuts.tolist())]
            else:
                is_one = (values >= 0) & (values < CATEGORIES) & (values == np.floor(values))
                code = np.where(is_one, values, CATEGORIES).astype(np.int64)
                names = [*(f"{name}={n}" for n in range(CATEGORIES)), f"{name}=other"]
            for number in np.unique(code):
                yield names[number], code == number
        for place, column in enumerate(self._of_messages):
            for number in np.unique(groups[:, place]):
                yield column.names[number], groups[:, place] == number

    def named(self, groups: UInt8) -> list[list[str]]:
        """Of each row the segments that its message told, in the order of their declaration."""
        names = [column.names for column in self._of_messages]
        return [[names[at][code] for at, code in enumerate(row)] for row in groups.tolist()]

    def coded(self, named: Sequence[Sequence[str]]) -> UInt8:
        """(rows, columns) What `named` was made of; of a segment not declared now: unknown."""
        groups = np.full((len(named), self.columns), UNKNOWN, np.uint8)
        for row, names in enumerate(named):
            for name in names:
                if name in self._known:
                    place, code = self._known[name]
                    groups[row, place] = code
        return groups


class _Column:
    """One column of the message: its values as codes, and the names of these."""

    def __init__(self, name: str, declared: Segment) -> None:
        assert declared.path is not None
        self._look_up = path(declared.path)
        self._cuts = declared.cuts
        self._codes: dict[Any, int] = {v: code for code, v in enumerate(declared.values, start=1)}
        self.names = [f"{name}=unknown"]
        if self._cuts:
            self.names += [f"{name}{band}" for band in _bands(self._cuts)]
        else:
            self.names += [*(f"{name}={value}" for value in declared.values), f"{name}=other"]

    def code(self, message: Any) -> int:
        value = self._look_up(message)
        kind = type(value)  # true and false are no numbers
        if self._cuts:
            if (kind is not int and kind is not float) or not math.isfinite(value):
                return UNKNOWN
            return 1 + bisect_right(self._cuts, value)
        if kind is not str and kind is not int and kind is not float:
            return UNKNOWN
        return self._codes.get(value, len(self.names) - 1)


def _bands(cuts: Sequence[float]) -> list[str]:
    """Words for what lies below, between and above.

    >>> _bands([25, 65])
    ['<25', '=25..65', '>=65']
    """
    told = [f"{cut:g}" for cut in cuts]
    between = [f"={low}..{high}" for low, high in pairwise(told)]
    return [f"<{told[0]}", *between, f">={told[-1]}"]
