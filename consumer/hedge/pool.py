"""The experts that are admitted and their weights: what snapshots and activations say.

Labels give weight. Before labels of a change come one expert may have some lent: all scores count
on it from then on, and what labels gave comes back when it is taken away.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from consumer.columns import Float64
from consumer.experts import State
from consumer.hedge import weights
from consumer.hedge.guess import GUESSES
from consumer.mixture import FROZEN, apart
from consumer.registry import InForce

# Weights that moved by less stay in force as they are, and who has less is not asked: a row costs
# what those cost who count.
MOVED = 0.005
TRACE = 0.02  # of an equal share, what a newcomer gets at least
# Where nothing is known to have changed a newcomer is better by chance more often than not: so many
# nats of its evidence do not count, prior odds of 1 in 150.
DISBELIEF = 5.0
# And what moves on with a batch is for so many labelled rows there, less for fewer.
SHARE_ROWS = 100


class Pool:
    """The frozen model, always, and who joined it."""

    def __init__(self) -> None:
        self.states: dict[str, State] = {FROZEN: {}}
        self._by_rate: list[dict[str, float]] = []  # weights, were this the rate of change
        self._belief: list[float] = []  # in each rate, 1 in sum
        self._set({FROZEN: 1.0})
        self.lent: tuple[str, float] | None = None
        self.is_new = False  # numbers that no snapshot has yet

    def _set(self, earned: Mapping[str, float]) -> None:
        self._by_rate = [dict(earned) for _ in weights.RATES]
        self._belief = self._belief or [1 / len(weights.RATES)] * len(weights.RATES)

    @property
    def earned(self) -> dict[str, float]:
        """By expert, positive, 1 in sum: what labels gave."""
        first, *_ = self._by_rate
        pairs = list(zip(self._belief, self._by_rate, strict=True))
        return _of_one({name: sum(b * w[name] for b, w in pairs) for name in first})

    @property
    def weights(self) -> dict[str, float]:
        """By expert, positive, 1 in sum."""
        return self._with_lent(self.earned)

    def _with_lent(self, earned: dict[str, float]) -> dict[str, float]:
        if self.lent is None:
            return earned
        name, share = self.lent
        rest = 1 - earned.get(name, 0.0)
        found = {n: w / rest * (1 - share) for n, w in earned.items() if n != name}
        return {**found, name: share}

    def put(self, name: str, state: State) -> None:
        """An expert has learnt; a new one has no weight yet."""
        # Copied to where a restart will put it: see `states.from_bytes`.
        self.states[name] = {key: tensor.clone() for key, tensor in state.items()}
        self.is_new = True

    def admit(self, evidence: Mapping[str, float], *, changed: bool) -> None:
        """New members get the weight that their evidence would have earned them, together.

        `evidence` in nats: by how much rows that had no part in what they learnt are likelier than
        under the frozen model. Each gets a trace at least and an equal share at most. `changed`: is
        anything known to have?
        """
        earned = self.earned
        count = len(earned) + len(evidence)
        nobody = math.log(earned[FROZEN] / len(evidence)) - (0.0 if changed else DISBELIEF)
        given = {
            name: math.exp(min(-math.log(count), max(math.log(TRACE / count), nobody + e)))
            for name, e in evidence.items()
        }
        rest = 1 - sum(given.values())
        self._by_rate = [
            {name: w * rest for name, w in each.items()} | given for each in self._by_rate
        ]

    def learnt_anew(self, evidence: Mapping[str, float]) -> None:
        """Members get the weight that labels so far would have given their new numbers.

        `evidence` in nats: by how much those make rows that had no part in what they learnt
        likelier than the old ones did. An equal share at most, and none gets less.
        """
        earned = self.earned
        most = -math.log(len(earned))
        given = {n: math.exp(min(most, math.log(earned[n]) + e)) for n, e in evidence.items()}
        given = {n: w for n, w in given.items() if w > earned[n]}
        rest = 1 - sum(given.values())
        self._by_rate = [
            {n: w * rest for n, w in _of_one(_without(each, given)).items()} | given
            for each in self._by_rate
        ]

    def leave(self, name: str) -> None:
        """A member goes, and its weight to the others."""
        self.states.pop(name, None)
        if self.lent is not None and self.lent[0] == name:
            self.lent = None
        self._by_rate = [_of_one(_without(each, {name})) for each in self._by_rate]

    def lend(self, name: str, share: float) -> None:
        """Let an expert count as no label has said."""
        if self.lent is not None and self.lent[0] != name:
            self.take_back()
        self.lent = (name, share)

    def keep_lent(self) -> None:
        """Labels speak from now on: of what was lent too."""
        self._by_rate = [self._with_lent(each) for each in self._by_rate]
        self.lent = None

    def follow(self, p: Float64, y: Float64, weight: Float64, *, changed: bool) -> None:
        """What labels `y: (rows,)` say of `p: (experts, rows)`, in the order of `earned`.

        `changed`: is anything known to have?
        """
        gain = weights.log_likelihood(p, y, weight)
        told = []
        pace = 1.0 if changed else min(1.0, len(y) / SHARE_ROWS)
        for n, rate in enumerate(weights.RATES):
            before = weights.of(self._by_rate[n])
            told.append(weights.evidence(before, gain))
            moves = pace * rate
            rates = [weights.WAY_BACK if name == FROZEN else moves for name in self._by_rate[n]]
            after = weights.follow(before, gain, np.array(rates) / len(rates)).tolist()
            self._by_rate[n] = dict(zip(self._by_rate[n], after, strict=True))
        shares = np.full(len(told), weights.RATE_OF_RATES / len(told))
        self._belief = weights.follow(np.array(self._belief), np.array(told), shares).tolist()

    def take(self, in_force: InForce, lasting: Collection[str] = ()) -> None:
        """Go on from what is in force: its experts and their weights.

        `lasting`: experts that keep the numbers they have by now, where they have any.
        """
        found = apart(in_force.snapshot.adapter)
        held = {n: state for n, state in self.states.items() if n in lasting}
        self.states = {name: held.get(name, found.get(name, {})) for name in in_force.weights}
        self._set(in_force.weights)
        self.lent = None
        guess = next((name for name in GUESSES if in_force.weights.get(name, 0.0) > 0.5), None)
        if in_force.provisional and guess is not None:  # no label gave it that
            self._lend_again(in_force, guess, TRACE / len(in_force.weights))
        self.is_new = not held.keys().isdisjoint(in_force.weights)

    def lent_to(self, name: str) -> float:
        """The share that this expert was lent; 0 where none was."""
        return self.lent[1] if self.lent is not None and self.lent[0] == name else 0.0

    def return_to(self, in_force: InForce) -> None:
        """As `take`; but what was lent is still lent where it has a share."""
        lent, earned = self.lent, self.earned
        self.take(in_force)
        if lent is not None and lent[0] in in_force.weights:
            self._lend_again(in_force, lent[0], earned.get(lent[0], 0.0))

    def _lend_again(self, in_force: InForce, name: str, earned: float) -> None:
        """Of what is in force `name` was lent its weight; labels gave it `earned`, perhaps none."""
        others = _of_one(_without(in_force.weights, {name}))
        mine = {name: earned} if earned else {}
        self._set({n: w * (1 - earned) for n, w in others.items()} | mine)
        self.lent = (name, in_force.weights[name])

    def take_back(self) -> None:
        """Nothing is lent any more: who labels gave no weight goes, others have what they gave."""
        if self.lent is not None and self.lent[0] not in self._by_rate[0]:
            self.leave(self.lent[0])
        self.lent = None

    @property
    def counting(self) -> dict[str, float]:
        """Of those who count, and of the frozen model; 1 in sum."""
        return _of_one({n: w for n, w in self.weights.items() if w >= MOVED or n == FROZEN})

    def has_moved(self, since: Mapping[str, float]) -> bool:
        """Do the weights differ from those in force by more than is worth saying?"""
        now = self.weights
        return any(abs(now.get(n, 0.0) - since.get(n, 0.0)) > MOVED for n in {*now, *since})

    def state(self) -> dict[str, Any]:
        """What a restart needs, beside the snapshot in force."""
        return {"earned": self._by_rate, "belief": self._belief, "lent": self.lent}

    def load(self, state: Mapping[str, Any], in_force: InForce) -> None:
        """Go on from a state."""
        self._by_rate, self._belief = list(map(dict, state["earned"])), list(state["belief"])
        self.lent = None if state["lent"] is None else (state["lent"][0], state["lent"][1])
        found = apart(in_force.snapshot.adapter)
        self.states = {name: found.get(name, {}) for name in self.weights}
        self.is_new = False


def _without(shares: Mapping[str, float], names: Collection[str]) -> dict[str, float]:
    return {name: share for name, share in shares.items() if name not in names}


def _of_one(shares: Mapping[str, float]) -> dict[str, float]:
    total = sum(shares.values())
    return {name: share / total for name, share in shares.items()}
