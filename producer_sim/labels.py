"""Which transactions are labelled, what their labels say, and when."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from producer_sim.rows import UNKNOWN, Int8, Int64, Transactions


@dataclass(frozen=True, slots=True)
class Labels:
    """Consecutive labels, in order of time."""

    ids: Any  # pyarrow strings: 20 bytes each, where Python's take 70; millions may be waiting
    labelled_at: Int64  # (rows,) epoch ms
    is_fraud: Int8  # (rows,) 0 or 1

    def __len__(self) -> int:
        return len(self.is_fraud)

    def part(self, start: int, stop: int | None = None) -> Labels:
        """Labels `start` to `stop`."""
        some = slice(start, stop)
        return Labels(self.ids[some], self.labelled_at[some], self.is_fraud[some])

    @staticmethod
    def joined(parts: list[Labels]) -> Labels:
        """One after the other."""
        if not parts:
            return Labels(pa.array([], pa.string()), np.array([], np.int64), np.array([], np.int8))
        return Labels(
            pa.concat_arrays([part.ids for part in parts]),
            np.concatenate([part.labelled_at for part in parts]),
            np.concatenate([part.is_fraud for part in parts]),
        )


@dataclass(frozen=True, slots=True)
class Labelling:
    """How transactions come by their labels.

    What becomes of a transaction hangs on its id and the seed alone, so that it is the same
    whatever else is published; more noise flips the labels that less noise flips, and others.
    """

    delay_ms: int = 0
    fraction: float = 1.0  # share of the labels that ever come
    noise: float = 0.0  # share of those that come wrong
    seed: int = 42

    def of(self, transactions: Transactions) -> Labels:
        """The labels that will come, in the order of their transactions."""
        come = transactions.is_fraud != UNKNOWN
        come &= uniform(transactions.ids, self.seed, "fraction") < self.fraction
        flipped = uniform(transactions.ids, self.seed, "noise") < self.noise
        return Labels(
            pa.array(transactions.ids, pa.string()).filter(pa.array(come)),
            transactions.times[come] + self.delay_ms,
            (transactions.is_fraud ^ flipped)[come].astype(np.int8),
        )


def uniform(ids: Iterable[str], seed: int, purpose: str) -> NDArray[np.float64]:
    """A number in [0, 1) for each id.

    Source: splitmix64's finaliser, Steele et al., "Fast Splittable Pseudorandom Number Generators"
    (OOPSLA 2014); CRC-32 alone is linear, and would choose ids that count upwards in patterns.
    """
    salt = crc32(f"{purpose} {seed}".encode()) << 32
    bits = np.array([crc32(each.encode()) for each in ids], dtype=np.uint64)
    bits ^= np.uint64(salt)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    bits ^= bits >> np.uint64(31)
    # 53 bits: as many as a float64 holds.
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
