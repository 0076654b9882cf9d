"""Scores of several experts, weighed: one probability a row.

A pool's numbers travel as one flat state, `<expert>/<name>`: a snapshot of the registry.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from consumer import device, experts
from consumer.columns import Float32, Float64
from consumer.experts.base import Base, Learner, State, View
from consumer.model_directory import Model

FROZEN = "frozen"


def flat(pool: Mapping[str, State]) -> State:
    """One state of many, as a snapshot holds it."""
    return {f"{name}/{key}": t for name, state in pool.items() for key, t in state.items()}


def apart(state: State) -> dict[str, State]:
    """Many states of one, by expert; numbers of the base adapter alone belong to none."""
    found: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in state.items():
        expert, slash, key = name.partition("/")
        if slash:
            found.setdefault(expert, {})[key] = tensor
    return dict(found)


class Mixture:
    """Every expert of a model, for one thread."""

    def __init__(self, model: Model) -> None:
        self.base = Base(device.placed(model.module, model.device), model.base_adapter)
        self.experts = {expert.name: expert for expert in experts.pool(model)}

    @property
    def lasting(self) -> list[str]:
        """Experts that learn from every regime: what they know outlasts the present one."""
        return [
            name
            for name, expert in self.experts.items()
            if isinstance(expert, Learner) and expert.learns_from == "all"
        ]

    @torch.inference_mode()
    def probabilities(self, x: Float32, pool: Mapping[str, State]) -> Float64:
        """Of each expert of the pool, (experts, rows), for `x: (rows, features)`."""
        view = View.of(self.base, x)
        return np.stack(
            [
                torch.sigmoid(self.experts[name].logit(state, view)).numpy().astype(np.float64)
                for name, state in pool.items()
            ]
        )

    def score(
        self, x: Float32, state: State, weights: Mapping[str, float]
    ) -> tuple[Float32, Float32]:
        """The weighed probability and the frozen model's, (rows,) each, of `x: (rows, features)`.

        `state`: flat, of a snapshot; `weights`: by expert, positive, 1 in sum, FROZEN among them.
        """
        states = apart(state)
        p = self.probabilities(x, {name: states.get(name, {}) for name in weights})
        weighed = np.asarray(list(weights.values())) @ p
        return weighed.astype(np.float32), p[list(weights).index(FROZEN)].astype(np.float32)
