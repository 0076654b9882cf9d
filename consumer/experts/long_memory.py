"""The numbers of `tuned`, learnt from all that is remembered: where only features change.

A day and a night, a season, a feature that fills up: regimes differ and fraud stays what it is.
Small heals that begin where the last one ended beat now and then beginning anew.

A committee: each member learns from all rows but an eighth of its own, on which it is judged, so
that between them every row teaches. Their mean errs less than either.

Source: Parmanto, Munro and Doyle, "Improving committee diagnosis with resampling techniques"
(1996).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from consumer.experts.base import Base, Fitted, Learning, Memory, State, View
from consumer.experts.descent import Numbers, calibrated_on, cross_entropy, descend, uncalibrated
from consumer.experts.tuned import Tuned
from consumer.model import FARTHEST

MEMBERS = 2  # a pass of the network each, of every row that is scored
# To the end of four epochs, at a rate that falls to 0: eight learn some rows by heart, two leave
# much unlearnt.
RATE, BATCH, EPOCHS, MOST_STEPS = 4e-3, 512, 4, 2_000
# Towards where a member began, divided by the rows it learns from: a normal prior on each number.
PULL = 0.1


class LongMemory:
    """The mean probability of the members, each with a scale, a shift and an adapter."""

    name = "long_memory"
    learns_from: Memory = "all"

    def __init__(self, mean: Sequence[float], sd: Sequence[float]) -> None:
        self._member = Tuned(mean, sd)

    def cold(self, base: Base) -> State:
        """Members alike: the identity before the adapter as trained."""
        return _together([self._member.cold(base)] * MEMBERS)

    def logit(self, state: State, view: View) -> Tensor:
        """Log odds of fraud, (rows,)."""
        p = [torch.sigmoid(self._member.logit(one, view)) for one in _apart(state)]
        return torch.logit(torch.stack(p).mean(dim=0)).clamp(-FARTHEST, FARTHEST)

    def steps(self, rows: int) -> int:
        """How many a member may take to learn from so many."""
        return min(MOST_STEPS, EPOCHS * -(-rows // BATCH))

    def fit(self, base: Base, start: State, rows: Learning, seed: int) -> Fitted:
        """Each member goes on from where it was, and is calibrated on what it learnt from."""
        x = torch.tensor(rows.x)
        judged, logit, before, members = [], [], [], []
        for eighth, one in enumerate(_apart(start)):
            left_out = rows.eighth == eighth
            found = self._learnt(base, one, rows, x, ~left_out, seed)
            members.append(found)
            view = View(base, x[torch.from_numpy(left_out)])
            judged.append(np.flatnonzero(left_out))
            with torch.no_grad():
                logit.append(self._member.logit(found, view).numpy())
                before.append(self._member.logit(one, view).numpy())
        return Fitted(_together(members), *(np.concatenate(c) for c in (judged, logit, before)))

    def _learnt(
        self,
        base: Base,
        start: State,
        rows: Learning,
        x: Tensor,
        train: NDArray[np.bool_],
        seed: int,
    ) -> State:
        error = cross_entropy(rows, lambda p, some: self._member.raw(base, p, x[some]))
        cold, pull = self._member.cold(base), PULL / max(1, int(train.sum()))

        def loss(p: Numbers, some: Tensor) -> Tensor:
            far = torch.stack([(tensor - cold[name]).square().sum() for name, tensor in p.items()])
            return error(p, some) + pull * far.sum()

        numbers = descend(
            uncalibrated(start),
            loss,
            train,
            rate=RATE,
            batch=BATCH,
            steps=self.steps(int(train.sum())),
            seed=seed,
        )
        with torch.no_grad():
            raw = self._member.raw(base, numbers, x)
        slope, bias = calibrated_on(raw, rows, train)
        return {**numbers, "slope": slope, "bias": bias}


def _together(members: Sequence[State]) -> State:
    return {name: torch.stack([one[name] for one in members]) for name in members[0]}


def _apart(state: State) -> Iterator[State]:
    for each in zip(*(tensor.unbind() for tensor in state.values()), strict=True):
        yield dict(zip(state, each, strict=True))
