"""In which order records count: as they arrive, or by event time over both topics.

Decoded records wait in lanes, one a partition, until their turn. By event time the earliest head
goes first, a transaction before a label at a tie; a lane whose next record is not yet known holds
the others back, unless it is read to its end. So a replay's output does not depend on its speed.

A monitor batch is scored whole at the time of its first record (its adapter state is fixed there)
and ends at the time of its last one: labels in between are joined in between.

A rejected record has no time: its turn comes right after the record before it in its topic, and
inside a monitor batch before the batch. A lane that may hold one there holds the others back: so
its place among all else is the same in any chunks, and it waits for no later record.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np

from consumer.columns import Int64, Labels, Transactions
from consumer.pipeline import Pipeline
from consumer.policy import Idle
from consumer.sections import Order

# Rows that wait in a queue before its partition is paused: a hundred batches, so that polling and
# scoring overlap, and a few megabytes at 100 features.
QUEUE_ROWS = 10_000

C = TypeVar("C", Transactions, Labels)
R = TypeVar("R")


@dataclass(slots=True)
class Queue(Generic[C, R]):
    """Decoded records of one topic partition that were not yet processed, and its position."""

    concatenate: Callable[[C, C], C]
    time_of: Callable[[C], Int64]
    position: int = -1  # offset of the next record to process or tell; -1: none was read yet
    at_end: bool = False  # read to where the topic ends now
    rows: C | None = None
    # Effective times never go back: a record that is late by event time counts when it arrives.
    times: Int64 = field(default_factory=lambda: np.empty(0, np.int64))
    clock: int = 0  # the latest effective time that was put
    passed: int = 0  # the latest effective time that was taken
    _read: int = -1  # offset after the last record read
    _rejected: deque[tuple[int, R]] = field(default_factory=deque)

    def __len__(self) -> int:
        return len(self.times)

    @property
    def waiting(self) -> int:
        """Rows and rejected records."""
        return len(self) + len(self._rejected)

    @property
    def unbroken(self) -> int:
        """How many rows come before the next rejected record."""
        if self.rows is None or not self._rejected:
            return len(self)
        return int(np.searchsorted(self.rows.offset, self._rejected[0][0]))

    def put(self, rows: C, rejected: Sequence[tuple[int, R]], read: int) -> None:
        """Append decoded rows, and rejected records by offset; `read` is the offset after all."""
        self._rejected.extend(rejected)
        self._read = read
        if len(rows):
            times = np.maximum(np.maximum.accumulate(self.time_of(rows)), self.clock)
            self.clock = int(times[-1])
            self.times = np.concatenate([self.times, times])
            self.rows = rows if self.rows is None else self.concatenate(self.rows, rows)
        self._advance()

    def take(self, count: int) -> C:
        """The first `count` rows; the position moves on."""
        assert self.rows is not None
        taken = self.rows.rows(0, count)
        left = len(self) - count
        self.passed = int(self.times[count - 1])
        self.rows = self.rows.rows(count, len(self)) if left else None
        self.times = self.times[count:]
        self._advance()
        return taken

    def rejected(self, rows: int = 1) -> list[R]:
        """Take the rejected records before the last of so many rows; all where no row waits."""
        end = self._read if self.rows is None else int(self.rows.offset[rows - 1])
        taken: list[R] = []
        while self._rejected and self._rejected[0][0] < end:
            taken.append(self._rejected.popleft()[1])
        if taken:
            self._advance()
        return taken

    def _advance(self) -> None:
        self.position = self._read if self.rows is None else int(self.rows.offset[0])
        if self._rejected:
            self.position = min(self.position, self._rejected[0][0])


class Lane(Generic[R]):
    """The two queues of one partition."""

    def __init__(self) -> None:
        self.transactions: Queue[Transactions, R] = Queue(
            Transactions.concatenate, lambda rows: rows.event_time
        )
        self.labels: Queue[Labels, R] = Queue(Labels.concatenate, lambda rows: rows.labelled_at)
        self.ends_at: int | None = None  # time of the last record of a batch scored whole

    def checkpoint(self) -> dict[str, Any]:
        """What `load` needs: the rows that wait are read again."""
        return {
            "transactions": self.transactions.passed,
            "labels": self.labels.passed,
            "ends_at": self.ends_at,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.transactions.clock = self.transactions.passed = state["transactions"]
        self.labels.clock = self.labels.passed = state["labels"]
        self.ends_at = state["ends_at"]


def _nothing(*_: object) -> None:
    """For a driver that has nothing to commit to, and rejects no record."""


class Sequencer(Generic[R]):
    """Feeds the pipeline from the lanes."""

    def __init__(
        self,
        pipeline: Pipeline,
        order: Order,
        idle: Idle,
        commit: Callable[[], None] = _nothing,
        reject: Callable[[R], None] = _nothing,
    ) -> None:
        """`commit` is called before an adapter would swap twice within one commit.

        `reject` gets each rejected record in its turn, and must not commit: the position may have
        passed others that it is yet to get.
        """
        self._commit = commit
        self._reject = reject
        self._pipeline = pipeline
        self._by_event_time = order == "event_time"
        self._idle = idle
        self.lanes: dict[int, Lane[R]] = {}

    def run(self) -> None:
        """Process what may be processed now."""
        self._pipeline.resume(self._idle)
        if self._by_event_time:
            while self._step():
                pass
        else:
            for partition in sorted(self.lanes):
                self._arrived(partition)

    def is_full(self, partition: int, queue: Queue[Any, R], *, paused: bool) -> bool:
        """Should reading into one of the lane's queues pause? Once paused, until half is gone."""
        if queue.waiting < (QUEUE_ROWS // 2 if paused else QUEUE_ROWS):
            return False
        lane = self.lanes[partition]
        if queue is not lane.transactions or not len(queue) or lane.ends_at is not None:
            return True
        # A batch may hold more rows than a queue should: it must be let in to be completed.
        return self._cut(partition) is not None

    def _arrived(self, partition: int) -> None:
        lane = self.lanes.get(partition)
        if lane is None:
            return  # revoked while an inline heal was waited for
        while len(lane.transactions) or lane.ends_at is not None:
            if lane.ends_at is None:
                self._take_and_score(partition)
            if self.lanes.get(partition) is not lane:
                return  # revoked while an inline heal was waited for
            if lane.ends_at is not None:
                lane.ends_at = None
                self._pipeline.end_batch(partition, self._idle)
                if self.lanes.get(partition) is not lane:
                    return
        self._turn(lane.transactions)
        labels = len(lane.labels)
        if not lane.transactions.at_end:
            # Of a backlog the smaller topic would be read to its end first, and its labels would
            # wait one by one for rows that come much later.
            until = lane.transactions.clock
            labels = int(np.searchsorted(lane.labels.times, until, side="right"))
        self._join(partition, labels)

    def _step(self) -> bool:
        """One batch scored or ended, labels before it first; False where nothing may go on."""
        times: list[tuple[float, int]] = []
        for partition in sorted(self.lanes):
            lane = self.lanes[partition]
            if lane.ends_at is None:
                self._turn(lane.transactions)
            time = self._next_time(partition)
            if time is None:
                return False
            times.append((time, partition))
        if not times:
            return False
        time, partition = min(times)
        if not self._labels_before(time):
            return False
        if math.isinf(time):
            return False
        if partition not in self.lanes:
            return True  # revoked while an inline heal was waited for
        lane = self.lanes[partition]
        if lane.ends_at is not None:
            lane.ends_at = None
            self._pipeline.end_batch(partition, self._idle)
            return True
        self._take_and_score(partition)
        return True

    def _take_and_score(self, partition: int) -> None:
        if self._pipeline.swap_needs_commit(partition):
            self._commit()
        lane = self.lanes[partition]
        queue, ends = lane.transactions, self._cut(partition)
        assert queue.rows is not None
        ends = self._pipeline.rows_to_change(partition, queue.rows.x[:ends]) or ends
        if ends is not None:
            # Before scoring, which may wait for a heal and commit: that the batch is to end.
            lane.ends_at = int(queue.times[ends - 1])
        rows = ends or len(queue)
        self._turn(queue, rows)
        self._pipeline.score(queue.take(rows), self._idle)

    def _turn(self, queue: Queue[Any, R], rows: int = 1) -> None:
        for record in queue.rejected(rows):
            self._reject(record)

    def _next_time(self, partition: int) -> float | None:
        """When the lane's next transaction counts; infinity at the end, None where unknown."""
        lane = self.lanes[partition]
        if lane.ends_at is not None:
            return lane.ends_at
        queue = lane.transactions
        if self._cut(partition) is None and not queue.at_end:
            return None
        return int(queue.times[0]) if len(queue) else math.inf

    def _labels_before(self, time: float) -> bool:
        """Join every label earlier than `time`; False where a lane's next one is not known."""
        while True:
            for partition in sorted(self.lanes):
                queue = self.lanes[partition].labels
                self._turn(queue)
                if not len(queue) and not queue.at_end:
                    return False
            earliest, _ = self._label_heads()[0]
            if earliest >= time or math.isinf(earliest):
                return True
            if len(self.lanes) > 1:
                self._join_quiet(time)
            (earliest, partition), *others = self._label_heads()
            if earliest >= time:
                return True
            # A run of one lane: up to `time`, and not past the head of the next lane.
            queue = self.lanes[partition].labels
            count = len(queue)
            if not math.isinf(time):
                count = int(np.searchsorted(queue.times, time, side="left"))
            if others and not math.isinf(others[0][0]):
                side = "right" if partition < others[0][1] else "left"
                until = int(np.searchsorted(queue.times, others[0][0], side=side))  # type: ignore[call-overload]
                count = min(count, max(until, 1))
            self._join(partition, count)

    def _label_heads(self) -> list[tuple[float, int]]:
        """When each lane's next label counts, the earliest first; infinity where there is none."""
        queues = ((lane.labels, partition) for partition, lane in self.lanes.items())
        heads = [(int(q.times[0]) if len(q) else math.inf, partition) for q, partition in queues]
        return sorted(heads) or [(math.inf, -1)]

    def _join_quiet(self, time: float) -> None:
        """Join labels earlier than `time`, lane by lane, up to the first of which may be said more.

        In any order of the lanes they come to the same, and one by one each costs a whole call.
        """
        for lane, quiet in [(each, self._quiet(n)) for n, each in self.lanes.items()]:
            if len(lane.labels):
                time = min(time, int(lane.labels.times[quiet]))
        for partition in sorted(self.lanes):
            times = self.lanes[partition].labels.times
            self._join(partition, int(np.searchsorted(times, time, side="left")))

    def _quiet(self, partition: int) -> int:
        """How many of the waiting labels nothing is said of; never all of them."""
        queue = self.lanes[partition].labels
        if queue.rows is None:
            return 0
        # The last one before a rejected record takes that along.
        known = queue.rows.labelled_at[: queue.unbroken]
        return min(self._pipeline.quiet_labels(partition, known), len(known) - 1)

    def _join(self, partition: int, count: int) -> None:
        """Join so many labels, in pieces after each of which the position is true."""
        lane = self.lanes[partition]
        self._turn(lane.labels)
        while count > 0 and self.lanes.get(partition) is lane:
            assert lane.labels.rows is not None
            piece = min(count, lane.labels.unbroken)
            coming = lane.labels.rows.labelled_at[:piece]
            piece = self._pipeline.labels_to_boundary(partition, coming)
            self._pipeline.labels(lane.labels.take(piece), self._idle)
            count -= piece
            if self.lanes.get(partition) is lane:
                self._turn(lane.labels)

    def _cut(self, partition: int) -> int | None:
        queue = self.lanes[partition].transactions
        if queue.rows is None:
            return None
        return self._pipeline.rows_to_batch_end(partition, queue.rows.event_time)
