"""Scoring: what is in force and the frozen shadow share one pass through the backbone."""

from __future__ import annotations

import torch

from consumer import device
from consumer.columns import Float32
from consumer.mixture import FROZEN, Mixture
from consumer.model import AdapterState
from consumer.model_directory import Model
from consumer.registry import InForce


class Scorer:
    """Scores rows under a state given by reference: there is nothing to lock."""

    def __init__(self, model: Model) -> None:
        self._module = device.placed(model.module, model.device)
        self._shadow = model.shadow
        self._base_adapter = model.base_adapter
        self._mixture = Mixture(model)

    def __call__(self, x: Float32, in_force: InForce) -> tuple[Float32, Float32]:
        """Scores and shadow scores, both (rows,), of `x: (rows, features)`."""
        weights = in_force.weights
        if not weights:
            return self.adapted(x, in_force.snapshot.adapter)
        if set(weights) == {FROZEN}:
            return self.adapted(x, self._base_adapter)
        score, frozen = self._mixture.score(x, in_force.snapshot.adapter, weights)
        return score, frozen if self._shadow is None else self._shadow_of(x)

    def in_force(self, x: Float32, in_force: InForce) -> Float32:
        """The scores alone, the same."""
        if set(in_force.weights) <= {FROZEN}:
            return self(x, in_force)[0]
        return self._mixture.score(x, in_force.snapshot.adapter, in_force.weights)[0]

    @torch.inference_mode()
    def _shadow_of(self, x: Float32) -> Float32:
        assert self._shadow is not None
        shadow: Float32 = self._shadow(torch.from_numpy(x)).numpy()
        return shadow

    @torch.inference_mode()
    def adapted(self, x: Float32, adapter: AdapterState) -> tuple[Float32, Float32]:
        """Scores and shadow scores, both (rows,), under an adapter state."""
        rows = torch.from_numpy(x)
        h = self._module.represent(rows)  # (rows, …)
        score = self._module.decide(h, adapter)  # (rows,)
        if self._shadow is not None:
            shadow = self._shadow(rows)  # (rows,)
        elif adapter is self._base_adapter:
            shadow = score
        else:
            shadow = self._module.decide(h, self._base_adapter)
        return score.numpy(), shadow.numpy()
