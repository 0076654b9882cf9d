"""What every expert shares: the frozen network, rows with their pass through it, learning rows."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from consumer.columns import Float32, UInt8
from consumer.model import FARTHEST, AdapterState, Healable

State = Mapping[str, Tensor]  # an expert's numbers by name; never changed in place
HELD = 6  # the eighths from this one on are held back
# Labelled rows of the present regime alone, or of all that is remembered.
Memory = Literal["regime", "all"]


class Base:
    """A frozen copy of the network: an expert learns its own numbers around it, never these.

    For one thread: `torch.func.functional_call` swaps a module's tensors while it runs.
    """

    def __init__(self, module: Healable, adapter: AdapterState) -> None:
        self._module = copy.deepcopy(module).requires_grad_(False)
        self.adapter = adapter

    def adapter_as(self, prefix: str) -> dict[str, Tensor]:
        """The adapter as trained, its names with a prefix."""
        return {f"{prefix}{name}": tensor for name, tensor in self.adapter.items()}

    def represent(self, x: Tensor) -> Tensor:
        """What every adapter state begins with, (rows, …), of `x: (rows, features)`."""
        return self._module.represent(x)

    def latent(self, h: Tensor) -> Tensor:
        """What the adapter is given, (rows, width)."""
        return self._module.latent(h)

    def logit(self, h: Tensor, adapter: AdapterState | None = None) -> Tensor:
        """Log odds of fraud, (rows,), under an adapter state (default: as trained)."""
        logit = self._module.logit(h, self.adapter if adapter is None else adapter)
        return logit.clamp(-FARTHEST, FARTHEST)

    def of(self, x: Tensor) -> Tensor:
        """Log odds of fraud, (rows,), as the frozen model sees `x: (rows, features)`."""
        return self.logit(self.represent(x))


@dataclass(slots=True)
class View:
    """Rows on their way through several experts: the frozen network passes over them once."""

    base: Base
    x: Tensor  # (rows, features)
    _h: Tensor | None = field(default=None, repr=False)
    _frozen: Tensor | None = field(default=None, repr=False)

    @staticmethod
    def of(base: Base, x: Float32) -> View:
        """Of `x: (rows, features)`, copied to where torch puts what it multiplies.

        The last bits of a product depend on how its factors lie in memory.
        """
        return View(base, torch.tensor(x))

    @property
    def h(self) -> Tensor:
        """What every adapter state begins with, (rows, …)."""
        if self._h is None:
            self._h = self.base.represent(self.x)
        return self._h

    @property
    def frozen(self) -> Tensor:
        """The frozen model's log odds, (rows,)."""
        if self._frozen is None:
            self._frozen = self.base.logit(self.h)
        return self._frozen


@dataclass(frozen=True, slots=True)
class Learning:
    """Labelled rows to learn from, oldest first."""

    x: Float32  # (rows, features)
    y: Float32  # (rows,) 0 or 1
    weight: Float32  # (rows,) how many rows each stands for, 1 in the mean
    eighth: UInt8  # (rows,) 0 to 7, a fixed part of the stream each
    groups: UInt8  # (rows, columns) of the segments that no feature tells

    def __len__(self) -> int:
        return len(self.y)

    @property
    def held(self) -> NDArray[np.bool_]:
        """The quarter that is never trained on, (rows,)."""
        return self.eighth >= HELD

    def only(self, chosen: NDArray[np.bool_]) -> Learning:
        """Some of the rows."""
        return Learning(
            self.x[chosen],
            self.y[chosen],
            self.weight[chosen],
            self.eighth[chosen],
            self.groups[chosen],
        )


@dataclass(frozen=True, slots=True)
class Fitted:
    """What was learnt, and predictions for rows that had no part in it: what a gate may judge."""

    state: State
    judged: NDArray[np.int64]  # (judged,) indices of rows
    logit: Float32  # (judged,)
    # Of the numbers it began with, where it takes the expert to know which of them saw which rows.
    before: Float32 | None = None


class Expert(Protocol):
    """Numbers around the frozen network that give log odds. Stateless: they are handed in."""

    @property
    def name(self) -> str:
        """As in weights and snapshots."""

    def cold(self, base: Base) -> State:
        """The numbers to begin with."""

    def logit(self, state: State, view: View) -> Tensor:
        """Log odds of fraud, (rows,)."""


@runtime_checkable
class Learner(Expert, Protocol):
    """An expert that learns from labels."""

    @property
    def learns_from(self) -> Memory:
        """Which rows."""

    def fit(self, base: Base, start: State, rows: Learning, seed: int) -> Fitted:
        """Learn from labelled rows, both classes among them."""
