"""The regression over the newest rows alone: where everything is always on its way."""

from __future__ import annotations

import numpy as np

from consumer.experts.base import Base, Fitted, Learning, State
from consumer.experts.residual import Residual

NEWEST = 600


class Recent(Residual):
    """`residual`, of the newest 600 rows."""

    name = "recent"

    def fit(self, base: Base, start: State, rows: Learning, seed: int) -> Fitted:
        """As `residual` does."""
        first = max(0, len(rows) - NEWEST)
        found = super().fit(base, start, rows.only(np.arange(len(rows)) >= first), seed)
        return Fitted(found.state, found.judged + first, found.logit)
