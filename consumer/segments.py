"""Declared groups of transactions: no heal may buy its gain from one of them.

A segment is a band of a feature's values (`cuts`), or one of its whole numbers, 0 to 49.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from consumer.columns import Float32
from consumer.errors import SettingsError
from consumer.settings import Segment

CATEGORIES = 50


class Segments:
    """Which rows are of which segment."""

    def __init__(self, columns: Mapping[str, Segment], features: Sequence[str]) -> None:
        """Raises: SettingsError where a column names a feature that the model does not have."""
        for name, column in columns.items():
            if column.feature not in features:
                raise SettingsError(
                    f"setting segments.{name}: no feature {column.feature!r} among "
                    f"{', '.join(features)}"
                )
        self._columns = [
            (name, list(features).index(column.feature), np.array(column.cuts, np.float32))
            for name, column in columns.items()
        ]

    def of(self, x: Float32) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        """Each segment that some of `x: (rows, features)` are of, and which: (rows,)."""
        for name, feature, cuts in self._columns:
            values = x[:, feature]
            if len(cuts):
                code = np.searchsorted(cuts, values, side="right")
                names = [f"{name}{band}" for band in _bands(cuts)]
            else:
                is_one = (values >= 0) & (values < CATEGORIES) & (values == np.floor(values))
                code = np.where(is_one, values, CATEGORIES).astype(np.int64)
                names = [*(f"{name}={n}" for n in range(CATEGORIES)), f"{name}=other"]
            for number in np.unique(code):
                yield names[number], code == number


def _bands(cuts: NDArray[np.float32]) -> list[str]:
    """Words for what lies below, between and above.

    >>> _bands(np.array([25, 65], np.float32))
    ['<25', '=25..65', '>=65']
    """
    told = [f"{cut:g}" for cut in cuts.tolist()]
    between = [f"={low}..{high}" for low, high in pairwise(told)]
    return [f"<{told[0]}", *between, f">={told[-1]}"]
