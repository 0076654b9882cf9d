"""The model as it was trained: always a member, so that no mixture can fall far below it."""

from __future__ import annotations

from torch import Tensor

from consumer.experts.base import Base, State, View


class Frozen:
    """No numbers of its own."""

    name = "frozen"

    def cold(self, base: Base) -> State:
        """Nothing."""
        return {}

    def logit(self, state: State, view: View) -> Tensor:
        """The frozen model's log odds, (rows,)."""
        return view.frozen
