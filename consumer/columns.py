"""The columns that travel through the stages: frozen, one array a field, one length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Int8 = NDArray[np.int8]
UInt8 = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Transactions:
    """Consecutive transactions of one partition."""

    partition: int
    ids: Sequence[str]
    event_time: Int64  # (rows,) epoch ms
    x: Float32  # (rows, features)
    offset: Int64  # (rows,)
    groups: UInt8 | None = None  # (rows, columns) of the segments that no feature tells

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, start: int, stop: int) -> Transactions:
        """Rows `start` to `stop`, sharing memory."""
        part = slice(start, stop)
        return Transactions(
            self.partition,
            self.ids[part],
            self.event_time[part],
            self.x[part],
            self.offset[part],
            None if self.groups is None else self.groups[part],
        )

    @staticmethod
    def concatenate(first: Transactions, second: Transactions) -> Transactions:
        """One after the other; both of one partition."""
        return Transactions(
            first.partition,
            [*first.ids, *second.ids],
            np.concatenate([first.event_time, second.event_time]),
            np.concatenate([first.x, second.x]),
            np.concatenate([first.offset, second.offset]),
            None
            if first.groups is None or second.groups is None
            else np.concatenate([first.groups, second.groups]),
        )


@dataclass(frozen=True, slots=True)
class Labels:
    """Consecutive labels of one partition."""

    partition: int
    ids: Sequence[str]
    labelled_at: Int64  # (rows,) epoch ms
    is_fraud: Int8  # (rows,) 0 or 1
    source: Sequence[str | None]
    offset: Int64  # (rows,)
    propensity: Float64 | None = (
        None  # (rows,) of being asked for, NaN where not told; None: no row
    )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def propensities(self) -> Float64:
        """(rows,) NaN where not told."""
        told = self.propensity
        return np.full(len(self), np.nan) if told is None else told

    def rows(self, start: int, stop: int) -> Labels:
        """Rows `start` to `stop`, sharing memory."""
        part = slice(start, stop)
        return Labels(
            self.partition,
            self.ids[part],
            self.labelled_at[part],
            self.is_fraud[part],
            self.source[part],
            self.offset[part],
            None if self.propensity is None else self.propensity[part],
        )

    @staticmethod
    def concatenate(first: Labels, second: Labels) -> Labels:
        """One after the other; both of one partition."""
        return Labels(
            first.partition,
            [*first.ids, *second.ids],
            np.concatenate([first.labelled_at, second.labelled_at]),
            np.concatenate([first.is_fraud, second.is_fraud]),
            [*first.source, *second.source],
            np.concatenate([first.offset, second.offset]),
            np.concatenate([first.propensities, second.propensities]),
        )


@dataclass(frozen=True, slots=True)
class Scores:
    """What was decided on consecutive transactions under one adapter state."""

    transactions: Transactions
    score: Float32  # (rows,) probability of fraud
    shadow: Float32  # (rows,) the frozen model's
    threshold: float | Float64  # flagged from there on: one for all, or (rows,)
    decision: Int8  # (rows,) see `decision`
    shadow_decision: Int8  # (rows,) what the frozen model would have decided
    adapter_version: int
    state: str
    provisional: bool = False  # made with what no label has confirmed

    def __len__(self) -> int:
        return len(self.transactions)


@dataclass(frozen=True, slots=True)
class Labelled:
    """Scored transactions with their labels, in the order in which the labels came."""

    partition: int
    ids: Sequence[str]
    event_time: Int64
    labelled_at: Int64
    is_fraud: Int8
    source: Sequence[str | None]
    x: Float32
    score: Float32
    shadow: Float32
    threshold: Float64
    decision: Int8  # see `decision`
    shadow_decision: Int8
    adapter_version: Int64
    offset: Int64  # of the transaction
    weight: Float64  # how many rows each stands for, itself among them
    groups: UInt8  # (rows, columns) of the segments that no feature tells

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, start: int, stop: int) -> Labelled:
        """Rows `start` to `stop`, sharing memory."""
        part = slice(start, stop)
        return Labelled(
            self.partition,
            self.ids[part],
            self.event_time[part],
            self.labelled_at[part],
            self.is_fraud[part],
            self.source[part],
            self.x[part],
            self.score[part],
            self.shadow[part],
            self.threshold[part],
            self.decision[part],
            self.shadow_decision[part],
            self.adapter_version[part],
            self.offset[part],
            self.weight[part],
            self.groups[part],
        )

    def only(self, chosen: NDArray[np.bool_]) -> Labelled:
        """The chosen rows, (rows,)."""
        at = np.flatnonzero(chosen)
        numbers: list[int] = at.tolist()
        return Labelled(
            self.partition,
            [self.ids[n] for n in numbers],
            self.event_time[at],
            self.labelled_at[at],
            self.is_fraud[at],
            [self.source[n] for n in numbers],
            self.x[at],
            self.score[at],
            self.shadow[at],
            self.threshold[at],
            self.decision[at],
            self.shadow_decision[at],
            self.adapter_version[at],
            self.offset[at],
            self.weight[at],
            self.groups[at],
        )

    @staticmethod
    def concatenate(parts: Sequence[Labelled]) -> Labelled:
        """One after the other; all of one partition, at least one."""
        return Labelled(
            parts[0].partition,
            [i for part in parts for i in part.ids],
            np.concatenate([part.event_time for part in parts]),
            np.concatenate([part.labelled_at for part in parts]),
            np.concatenate([part.is_fraud for part in parts]),
            [s for part in parts for s in part.source],
            np.concatenate([part.x for part in parts]),
            np.concatenate([part.score for part in parts]),
            np.concatenate([part.shadow for part in parts]),
            np.concatenate([part.threshold for part in parts]),
            np.concatenate([part.decision for part in parts]),
            np.concatenate([part.shadow_decision for part in parts]),
            np.concatenate([part.adapter_version for part in parts]),
            np.concatenate([part.offset for part in parts]),
            np.concatenate([part.weight for part in parts]),
            np.concatenate([part.groups for part in parts]),
        )


@dataclass(frozen=True, slots=True)
class Matched:
    """What labels did, each part in the order of the labels."""

    joined: Labelled  # by their first label
    corrected: Labelled  # whose label changed, with the new one
    was: Int8  # (corrected,) their label before
    before: Int64  # (corrected,) how many of `joined` came before each
