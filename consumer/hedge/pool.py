"""The experts that are admitted and their weights: what snapshots and activations say.

Labels give weight. Before labels of a change come one expert may have some lent: all scores count
on it from then on, and what labels gave comes back when it is taken away.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from consumer.columns import Float64
from consumer.experts import State
from consumer.hedge import weights
from consumer.mixture import FROZEN, apart
from consumer.registry import InForce

MOVED = 0.005  # weights that moved by less stay in force as they are


class Pool:
    """The frozen model, always, and who joined it."""

    def __init__(self) -> None:
        self.states: dict[str, State] = {FROZEN: {}}
        self.earned: dict[str, float] = {FROZEN: 1.0}
        self.lent: tuple[str, float] | None = None
        self.is_new = False  # numbers that no snapshot has yet

    @property
    def weights(self) -> dict[str, float]:
        """By expert, positive, 1 in sum."""
        if self.lent is None:
            return self.earned
        name, share = self.lent
        rest = 1 - self.earned.get(name, 0.0)
        found = {n: w / rest * (1 - share) for n, w in self.earned.items() if n != name}
        return {**found, name: share}

    def put(self, name: str, state: State) -> None:
        """An expert has learnt; a new one has no weight yet."""
        # Copied to where a restart will put it: see `states.from_bytes`.
        self.states[name] = {key: tensor.clone() for key, tensor in state.items()}
        self.is_new = True

    def admit(self, evidence: Mapping[str, float]) -> None:
        """New members get the weight that their evidence would have earned them, together.

        `evidence` in nats: by how much rows that had no part in what they learnt are likelier than
        under the frozen model. Each gets a trace at least and an equal share at most.
        """
        count = len(self.earned) + len(evidence)
        nobody = math.log(self.earned[FROZEN] / len(evidence))
        given = {
            name: math.exp(min(-math.log(count), max(math.log(weights.SHARE / count), nobody + e)))
            for name, e in evidence.items()
        }
        rest = 1 - sum(given.values())
        self.earned = {name: w * rest for name, w in self.earned.items()} | given

    def leave(self, name: str) -> None:
        """A member goes, and its weight to the others."""
        self.states.pop(name, None)
        if self.lent is not None and self.lent[0] == name:
            self.lent = None
        gone = self.earned.get(name, 0.0)
        # A new dictionary: what was said and what is kept of a regime hold the one before.
        self.earned = {n: w / (1 - gone) for n, w in self.earned.items() if n != name}

    def lend(self, name: str, share: float) -> None:
        """Let an expert count as no label has said."""
        if self.lent is not None and self.lent[0] != name and self.lent[0] not in self.earned:
            self.leave(self.lent[0])
        self.lent = (name, share)

    def keep_lent(self) -> None:
        """Labels speak from now on: of what was lent too."""
        self.earned, self.lent = self.weights, None

    def follow(self, p: Float64, y: Float64, weight: Float64) -> None:
        """What labels `y: (rows,)` say of `p: (experts, rows)`, in the order of `earned`."""
        gain = weights.log_likelihood(p, y, weight)
        after = weights.follow(weights.of(self.earned), gain)
        self.earned = dict(zip(self.earned, after.tolist(), strict=True))

    def take(self, in_force: InForce) -> None:
        """Go on from what is in force: its experts and their weights."""
        found = apart(in_force.snapshot.adapter)
        self.states = {name: found.get(name, {}) for name in in_force.weights}
        self.earned, self.lent = dict(in_force.weights), None
        self.is_new = False

    def has_moved(self, since: Mapping[str, float]) -> bool:
        """Do the weights differ from those in force by more than is worth saying?"""
        now = self.weights
        if set(since) != set(now):
            return True
        return max(abs(w - since[name]) for name, w in now.items()) > MOVED

    def state(self) -> dict[str, Any]:
        """What a restart needs, beside the snapshot in force."""
        return {"earned": self.earned, "lent": self.lent}

    def load(self, state: Mapping[str, Any], in_force: InForce) -> None:
        """Go on from a state."""
        self.earned = dict(state["earned"])
        self.lent = None if state["lent"] is None else (state["lent"][0], state["lent"][1])
        found = apart(in_force.snapshot.adapter)
        self.states = {name: found.get(name, {}) for name in self.weights}
        self.is_new = False
