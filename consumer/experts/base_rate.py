"""Knows nothing but how many are fraud: for the time when a change is sure and no label has come.

A mixture with it is less sure of itself, which costs little where the frozen model is right and
saves much where it is confidently wrong.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from consumer.experts.base import Base, State, View


class BaseRate:
    """The share of fraud in training, for every row."""

    name = "base_rate"

    def __init__(self, fraud_share: float) -> None:
        share = min(max(fraud_share, 1e-4), 1 - 1e-4)
        self._logit = math.log(share / (1 - share))

    def cold(self, base: Base) -> State:
        """The log odds of the share."""
        return {"logit": torch.tensor(self._logit)}

    def logit(self, state: State, view: View) -> Tensor:
        """The same for every row, (rows,)."""
        return state["logit"].expand(len(view.x))
