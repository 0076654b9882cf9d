"""What follows when labels come: the join, prequential figures, and full labelled batches."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from consumer import notices
from consumer.batch import BatchCutter
from consumer.columns import Int64, Labelled, Labels
from consumer.events import Events
from consumer.evidence import Evidence
from consumer.governor import Governor
from consumer.outputs import Outputs
from consumer.partition import Partition
from consumer.policy import Idle, Policy
from consumer.profile import Stage
from consumer.registry import Place
from consumer.settings import Settings

# A labelled batch has at most so many times the rows it has at least: a month's labels may come in
# one file, all at the same time.
MOST_LABELLED = 100


class Matured:
    """Rows that have met their labels, of the partitions that are ours."""

    def __init__(
        self,
        settings: Settings,
        partitions: Mapping[int, Partition],
        events: Events,
        out: Outputs,
        healing: Policy,
        governor: Governor,
        stage: Stage,
    ) -> None:
        """`partitions`: as they are at the time; one may go while a heal is waited for."""
        given = settings.batch
        self._cutter = BatchCutter(given.rows, round(given.span_s * 1000), MOST_LABELLED)
        self._input = settings.input
        self._partitions = partitions
        self._events = events
        self._out = out
        self._healing = healing
        self._governor = governor
        self._stage = stage

    def labels(self, labels: Labels, idle: Idle) -> None:
        """Join labels to what was scored; a full labelled batch is evidence."""
        part = self._partitions[labels.partition]
        start = 0
        while start < len(labels) and self._partitions.get(labels.partition) is part:
            stop = start + self.to_boundary(part, labels.labelled_at[start:])
            self._match(part, labels.rows(start, stop), idle)
            self.batches(part, labels.partition, idle)
            start = stop

    def early(self, part: Partition, rows: Labelled, idle: Idle) -> None:
        """Take rows whose labels had come before them."""
        self._joined(part, rows, idle)
        self.batches(part, rows.partition, idle)

    def to_boundary(self, part: Partition, labelled_at: Int64) -> int:
        """How many labels, that come at these times, before something is decided on them."""
        labelled_at = labelled_at[: _to_window(part)]
        if not self._healing.waits:
            return len(labelled_at)
        return self._to_batch(part, labelled_at)

    def quiet(self, part: Partition, labelled_at: Int64) -> int:
        """How many labels, that come at these times, before anything may be said of them."""
        some = labelled_at[: min(_to_window(part), part.running.room)]
        return max(0, self._to_batch(part, some) - 1)

    def changed(self, number: int, part: Partition) -> None:
        """Note what the join's changelog has to be told."""
        if changes := part.join.changes():
            self._out.pending.append((number, changes))

    def batches(self, part: Partition, number: int, idle: Idle) -> None:
        """End the labelled batches that are full, as long as the partition is ours."""
        while self._partitions.get(number) is part:
            count = self._cutter.cut(part.labelled_at)
            if count is None:
                return
            self._end_batch(part, count, idle)

    def rest(self, part: Partition, idle: Idle) -> None:
        """Labels that came in no time fill a batch as well: it waits for no later ones."""
        if part.labelled_rows >= self._cutter.rows:
            self._end_batch(part, part.labelled_rows, idle)

    def _match(self, part: Partition, labels: Labels, idle: Idle) -> None:
        with self._stage("join"):
            matched = part.join.match(labels)
            part.labels += len(labels)
            self.changed(labels.partition, part)
        joined = 0
        for number, before in enumerate(matched.before.tolist()):
            self._joined(part, matched.joined.rows(joined, before), idle)
            joined, one = before, slice(number, number + 1)
            corrected = matched.corrected.rows(number, number + 1)
            self._out.corrected.append((len(self._out.labelled), corrected))
            part.running.correct(corrected, matched.was[one])
            part.correct(corrected, matched.was[one])
            self._healing.corrected(corrected)
        self._joined(part, matched.joined.rows(joined, len(matched.joined)), idle)
        if part.labels % notices.LABEL_WINDOW == 0:
            last = len(labels) - 1
            place = Place(
                self._input.labels.topic,
                labels.partition,
                int(labels.offset[last]),
                int(labels.labelled_at[last]),
            )
            before, part.label_counts = part.label_counts, part.join.counts.copy()
            self._out.events += notices.labels_in_trouble(
                self._events, place, before, part.label_counts
            )

    def _joined(self, part: Partition, rows: Labelled, idle: Idle) -> None:
        """Count rows that have met their labels, and end the labelled batches that they fill.

        But where a labelled batch waits for its heal: what a commit meanwhile says must be true.
        """
        while len(rows):
            count = len(rows)
            if not self._healing.waits:
                count = self._to_batch(part, rows.labelled_at)
            self._count(part, rows.rows(0, count))
            if not self._healing.waits:
                self.batches(part, rows.partition, idle)
            rows = rows.rows(count, len(rows))

    def _to_batch(self, part: Partition, labelled_at: Int64) -> int:
        """How many rows with labels of these times fill a labelled batch; all where it is not."""
        ends = self._cutter.cut(np.concatenate([part.labelled_at, labelled_at]))
        return len(labelled_at) if ends is None else max(1, ends - part.labelled_rows)

    def _count(self, part: Partition, rows: Labelled) -> None:
        self._out.labelled.append(rows)
        part.count(rows)
        with self._stage("watch"):
            windows = list(part.running.add(rows))
        for window in windows:
            place = Place(
                self._input.transactions.topic,
                rows.partition,
                int(rows.offset[window.last]),
                int(rows.labelled_at[window.last]),
            )
            # Of chosen rows that say how likely they were chosen all rows can be told.
            conditional = self._input.labels.selected
            conditional &= part.join.counts["chosen"] < part.labels
            self._out.events.append(
                notices.prequential(
                    self._events, place, window, part.reviews.told(), conditional=conditional
                )
            )
        part.labelled.append(rows)
        with self._stage("heal"):
            self._healing.joined(rows)

    def _end_batch(self, part: Partition, count: int, idle: Idle) -> None:
        held = Labelled.concatenate(part.labelled)
        # Before an inline heal is waited for: it commits, and what it commits must be true.
        rows, part.labelled = held.rows(0, count), [held.rows(count, len(held))]
        part.labelled_batches += 1
        place = Place(
            self._input.transactions.topic,
            rows.partition,
            int(rows.offset[-1]),
            int(rows.labelled_at.max()),
        )
        self._out.events += notices.rules_disagree(self._events, place, part.rules.take(rows))
        reasons, part.unanswered = part.alarm or part.unanswered, ()
        evidence = Evidence(rows, part.labelled_batches, place, reasons)
        with self._stage("heal"):
            self._governor.labelled(rows, place)  # before an inline heal is waited for
            self._healing.labelled_batch(evidence, idle)


def _to_window(part: Partition) -> int:
    return notices.LABEL_WINDOW - part.labels % notices.LABEL_WINDOW
