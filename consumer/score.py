"""Scoring: the active adapter and the frozen shadow share one pass through the backbone."""

from __future__ import annotations

import torch

from consumer.columns import Float32
from consumer.model import AdapterState
from consumer.model_directory import Model


class Scorer:
    """Scores rows under an adapter state given by reference: there is nothing to lock."""

    def __init__(self, model: Model) -> None:
        self._module = model.module
        self._shadow = model.shadow
        self._base_adapter = model.base_adapter

    @torch.inference_mode()
    def __call__(self, x: Float32, adapter: AdapterState) -> tuple[Float32, Float32]:
        """Scores and shadow scores, both (rows,), of `x: (rows, features)`."""
        rows = torch.from_numpy(x)
        h = self._module.represent(rows)  # (rows, width)
        score = self._module.decide(h, adapter)  # (rows,)
        if self._shadow is not None:
            shadow = self._shadow(rows)  # (rows,)
        else:
            shadow = self._module.decide(h, self._base_adapter)
        return score.numpy(), shadow.numpy()
