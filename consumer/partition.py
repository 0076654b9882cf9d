"""What the stages hold of one partition, and how a restart gets it back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consumer.columns import Int8, Int64, Labelled, Transactions
from consumer.decision import APPROVE, Reviews
from consumer.join import Join
from consumer.policy import HEALTHY, MonitorBatch
from consumer.registry import InForce, Place
from consumer.rule_evidence import RuleEvidence
from consumer.running import Running
from consumer.watch import Watch

_NO_TIMES = np.empty(0, np.int64)

# Keys and values of a changelog, many at a time.
Changelog = Iterable[tuple[Sequence[bytes], Sequence[bytes | None]]]


@dataclass(frozen=True, slots=True)
class Restored:
    """A partition as its last commit left it."""

    state: Mapping[str, Any]  # of `Partition.state`
    position: int  # offset of the next transaction to score
    active: InForce | None = None  # for the batch in progress
    rows: Transactions | None = None  # of the batch in progress, where the policy remembers
    labelled: Labelled | None = None  # joined rows that no labelled batch has taken
    memory: Labelled | None = None  # and those that the policy remembers,
    unweighed: int = 0  # of which so many, the last ones, wait for the end of the batch
    cached: Mapping[str, NDArray[Any]] | None = None  # of the join, if a local copy was left
    changelog: Changelog = ()  # what came after the copy


@dataclass(slots=True)
class DeadLetters:
    """Dead letters from one topic's partition, since the application began."""

    counts: Counter[str] = field(default_factory=Counter)  # by kind
    at: Place | None = None  # of the last one
    window: int = -1  # of the last event
    said: int = 0  # how many the last event told of

    def checkpoint(self) -> dict[str, Any]:
        """What `of` needs."""
        return {
            "counts": dict(self.counts),
            "at": self.at,
            "window": self.window,
            "said": self.said,
        }

    @staticmethod
    def of(state: Mapping[str, Any]) -> DeadLetters:
        """From a checkpoint."""
        at = Place(**state["at"])
        return DeadLetters(Counter(state["counts"]), at, state["window"], state["said"])


@dataclass(slots=True)
class Partition:
    """One partition's monitor batch, labelled batch, join and counts."""

    watch: Watch
    join: Join
    running: Running
    rules: RuleEvidence
    reviews: Reviews
    active: InForce | None = None  # for the rows of the current batch
    # Of it, since it was cut, where the policy remembers.
    rows: list[Transactions] = field(default_factory=list)
    rows_from: int = 0  # offset of the first of them
    state: str = HEALTHY  # when the current batch began
    batches: int = 0
    first_offset: int = 0
    place: Place | None = None  # of the last record scored
    alarm: tuple[str, ...] = ()  # reasons of the last batch
    unanswered: tuple[str, ...] = ()  # reasons of the last alarm since the last labelled batch
    labelled: list[Labelled] = field(default_factory=list)  # not yet in a labelled batch
    labelled_batches: int = 0
    labels: int = 0  # read, whatever became of them
    label_counts: Counter[str] = field(default_factory=Counter)  # of the join, a window ago
    scored: int = 0
    joined: int = 0
    right: int = 0  # joined rows that the published score had right
    shadow_right: int = 0  # and that the frozen model's had
    dead: dict[str, DeadLetters] = field(default_factory=dict)  # by topic

    @property
    def labelled_rows(self) -> int:
        """Joined rows that no labelled batch has taken yet."""
        return sum(map(len, self.labelled))

    @property
    def labelled_at(self) -> Int64:
        """When their labels came, (rows,)."""
        return np.concatenate([_NO_TIMES, *(rows.labelled_at for rows in self.labelled)])

    def monitor_batches(self) -> list[MonitorBatch]:
        """What the policy is given of a batch that ends or is cut: apart, what a change parts."""
        if not self.rows or self.place is None:
            return []  # after a restart: they can no longer be read
        x = np.concatenate([rows.x for rows in self.rows])
        offset = np.concatenate([rows.offset for rows in self.rows])
        time = np.concatenate([rows.event_time for rows in self.rows])
        change = self.watch.change or 0
        part = bool(change) or not self.watch.is_whole or len(x) != self.watch.rows
        found = []
        for first, end in ((0, change), (change, len(x))) if change else ((0, len(x)),):
            last = int(offset[end - 1]), int(time[end - 1])
            place = Place(self.place.topic, self.place.partition, *last)
            start = int(offset[first]), int(time[first])
            found.append(MonitorBatch(x[first:end], *start, place, part=part))
        return found

    def count(self, rows: Labelled) -> None:
        """Rows have met their labels: whose decision was right?"""
        self.joined += len(rows)
        self._judge(rows, rows.is_fraud, 1)

    def correct(self, rows: Labelled, was: Int8) -> None:
        """Rows that were counted have another label now; `was`: (rows,) the old."""
        self._judge(rows, was, -1)
        self._judge(rows, rows.is_fraud, 1)

    def _judge(self, rows: Labelled, label: Int8, by: int) -> None:
        self.right += by * int(((rows.decision != APPROVE) == (label == 1)).sum())
        self.shadow_right += by * int(((rows.shadow_decision != APPROVE) == (label == 1)).sum())

    def checkpoint(self) -> dict[str, Any]:
        """What `load` needs, as plain data; of the rows themselves only how many there are."""
        return {
            "watch": self.watch.state(),
            "join": self.join.state(),
            "running": self.running.state(),
            "rules": self.rules.state(),
            "reviews": self.reviews.state(),
            "active": self.active.record("") if self.active else None,
            "state": self.state,
            "batches": self.batches,
            "first_offset": self.first_offset,
            "rows_from": self.rows_from,
            "rows": sum(map(len, self.rows)),
            "place": self.place,
            "alarm": self.alarm,
            "unanswered": self.unanswered,
            "labelled_rows": self.labelled_rows,
            "labelled_batches": self.labelled_batches,
            "labels": self.labels,
            "label_counts": dict(self.label_counts),
            "scored": self.scored,
            "joined": self.joined,
            "right": self.right,
            "shadow_right": self.shadow_right,
            "dead": {topic: dead.checkpoint() for topic, dead in self.dead.items()},
        }

    def load(self, restored: Restored) -> None:
        """Go on from a checkpoint and what the topics hold."""
        state = restored.state
        if "join" in state:
            if restored.cached is not None:
                self.join.load(restored.cached, restored.position)
            for keys, values in restored.changelog:
                self.join.replay(keys, values, restored.position)
            self.join.resume(state["join"])
        if "watch" not in state:
            return  # of another model: only the rows that wait for labels are worth keeping
        x = None if restored.rows is None else restored.rows.x
        self.watch.load(state["watch"], x)
        self.active = restored.active
        self.place = Place(**state["place"]) if state["place"] else None
        self.alarm, self.unanswered = tuple(state["alarm"]), tuple(state["unanswered"])
        self.labelled = [restored.labelled] if restored.labelled is not None else []
        self.rows = [restored.rows] if restored.rows is not None else []
        for name in (
            "state",
            "batches",
            "first_offset",
            "rows_from",
            "labelled_batches",
            "labels",
            "scored",
        ):
            setattr(self, name, state[name])
        for name in ("joined", "right", "shadow_right"):
            setattr(self, name, state[name])
        self.label_counts = Counter(state["label_counts"])
        self.running.load(state["running"])
        self.rules.load(state.get("rules", {}))
        self.reviews.load(state.get("reviews", {}))
        self.running.review_share = self.reviews.share
        self.dead = {topic: DeadLetters.of(dead) for topic, dead in state["dead"].items()}
