"""Transactions in columns, and the numbering of drawn rows into transactions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]
Int8 = NDArray[np.int8]

# In the order of the article's generator: V14 is its eighth column.
FEATURES = ("V1", "V2", "V3", "V4", "V5", "V6", "V7", "V14", "V8", "V9")

# `is_fraud` of a transaction that will never be labelled.
UNKNOWN = -1

# 100 ms apart, a monitor batch of 100 rows spans more than its least span of 1 s.
SPACING_MS = 100


class Sample(NamedTuple):
    """Drawn rows, before they are anybody's transactions."""

    x: Float32  # (rows, features)
    is_fraud: Int8  # (rows,) 0 or 1


@dataclass(frozen=True, slots=True)
class Transactions:
    """Consecutive transactions in time order, at least one."""

    ids: list[str]
    times: Int64  # (rows,) epoch ms
    features: dict[str, NDArray[Any]]  # (rows,) each, finite numbers
    is_fraud: Int8  # (rows,) 0, 1 or UNKNOWN

    def __len__(self) -> int:
        return len(self.ids)


def numbered(sample: Sample, prefix: str, first: int, start_ms: int) -> Transactions:
    """A sample as transactions `prefix-<number>`, the one numbered 1 at `start_ms`.

    `first`: number of the sample's first row.
    """
    numbers = range(first, first + len(sample.is_fraud))
    return Transactions(
        ids=[f"{prefix}-{number:07d}" for number in numbers],
        times=start_ms + SPACING_MS * (np.arange(len(numbers), dtype=np.int64) + first - 1),
        features={name: sample.x[:, column] for column, name in enumerate(FEATURES)},
        is_fraud=sample.is_fraud,
    )
