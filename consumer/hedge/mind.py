"""What the healer has in mind of its stream: a restart brings all of it back."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from consumer.columns import Float32
from consumer.hedge.change import FeatureChange, LabelledLoss
from consumer.hedge.due import Due
from consumer.hedge.memory import Memory
from consumer.hedge.pool import Pool
from consumer.hedge.recent import Recent
from consumer.hedge.record import Record
from consumer.hedge.regimes import Regimes
from consumer.hedge.ripening import Ripening
from consumer.policy import Memories
from consumer.registry import InForce


class Mind:
    """Made anew where healing moves to another replica."""

    def __init__(self, pool: Pool, columns: FeatureChange) -> None:
        self.pool = pool
        self.columns = columns  # features, and what the frozen network makes of them
        self.loss = LabelledLoss()
        self.memory = Memory()
        self.ripening = Ripening()
        self.regimes = Regimes()
        self.recent = Recent()  # since the change
        self.batches = 0
        self.rows = 0  # that have been scored
        self.newest = 1  # of them, given at once: two, where a change parts one
        self.changed_at = 0  # batches, when the present regime began; 0: none ever did
        self.labels_ever = False
        self.labels_now = 0  # of the present regime
        self.mine, self.all = Due(), Due()  # labelled rows of the present regime, and of all
        self.judged = [0, 0]  # changes that labels have judged: harmful ones, harmless ones
        # Of what counted before labels: guesses, and being less sure.
        self.guesses, self.doubts = Record(), Record()
        self.has_learnt = False  # has any expert, from labels of the present regime
        self.is_open = False  # a change that nothing has answered yet
        self.is_recognised = False  # the present regime, as one that was left
        self.could_guess = False  # were there rows enough, in this regime
        self.unsure = False  # the base rate was let in, in this regime
        self.abstained = False  # and it was said that nothing can be healed
        self.signal_lost = False
        self.reach: Float32 | None = None  # (2, features): as far as rows go that labels came for
        self.is_beyond = False  # the base rate was let in, as rows of today go farther

    @property
    def has_changed(self) -> bool:
        """Has anything, as far as is known?"""
        return self.changed_at > 0

    @property
    def age(self) -> int:
        """Batches of the present regime; 0 where there was no change yet."""
        return self.batches - self.changed_at if self.changed_at else 0

    def comes_to(self, ages: Collection[int]) -> bool:
        """Is the present regime as old as one of these, or was it between the newest batches?"""
        return any(self.age - self.newest < at <= self.age for at in ages)

    def regime_began(self, batches: int) -> None:
        """So many batches ago; nothing is answered yet, nor said."""
        self.changed_at = self.batches - batches
        self.columns.cut(batches)
        self.loss.cut()
        self.labels_now = 0
        self.mine = Due(self.labelled)
        self.has_learnt = False
        self.unsure = self.abstained = self.signal_lost = False
        self.is_open = True
        self.is_recognised = self.could_guess = self.is_beyond = False

    def count_until(self) -> None:
        """Of the labelled rows in memory those count that are ripe."""
        if self.ripening.until_ms is not None:
            self.memory.until_ms = self.ripening.until_ms

    @property
    def labelled(self) -> int:
        """Rows of the present regime whose labels have come."""
        return self.memory.count_in(self.regimes.spans())

    def state(self) -> dict[str, Any]:
        """What `load` needs, but for the memories."""
        return {
            "pool": self.pool.state(),
            "features": self.columns.state(),
            "loss": self.loss.state(),
            "regimes": self.regimes.state(),
            "recent": self.recent.places(),
            "batches": self.batches,
            "rows": self.rows,
            "changed_at": self.changed_at,
            "labels": [self.labels_ever, self.labels_now],
            "due": [self.mine, self.all],
            "judged": self.judged,
            "records": [self.guesses.state(), self.doubts.state()],
            "ripening": self.ripening.state(),
            "has_learnt": self.has_learnt,
            "said": [
                self.is_open,
                self.is_recognised,
                self.could_guess,
                self.unsure,
                self.abstained,
                self.signal_lost,
                self.is_beyond,
            ],
            "reach": None if self.reach is None else self.reach.tolist(),
        }

    def load(self, state: Mapping[str, Any], memories: Memories, deployed: InForce) -> None:
        """Go on from a state; labelled rows come back by themselves."""
        self.pool.load(state["pool"], deployed)
        self.columns.load(state["features"])
        self.loss.load(state["loss"])
        self.regimes.load(state["regimes"], memories.regimes, memories.snapshots)
        self.recent = Recent(memories.batches)
        self.batches, self.rows = state["batches"], state["rows"]
        self.changed_at = state["changed_at"]
        self.labels_ever, self.labels_now = state["labels"]
        self.mine, self.all = (Due(**each) for each in state["due"])
        self.judged = list(state["judged"])
        for record, found in zip((self.guesses, self.doubts), state["records"], strict=True):
            record.load(found)
        self.has_learnt = state.get("has_learnt", True)
        if "ripening" in state:
            self.ripening.load(state["ripening"])
            self.count_until()
        self.is_open, self.is_recognised, self.could_guess, *said = state["said"]
        self.unsure, self.abstained, self.signal_lost, self.is_beyond = said
        self.reach = None if state["reach"] is None else np.array(state["reach"], np.float32)
