"""The stages in one direction, without Kafka, clock or logger: score, join, watch, heal.

A driver (the loop, a test, a study) hands in decoded columns in the order in which they count and
takes the outputs. Whatever the driver's chunks, the same order of records gives the same outputs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from consumer import signals
from consumer.batch import BatchCutter
from consumer.columns import Float32, Int64, Labelled, Labels, Scores, Transactions
from consumer.errors import ThresholdError
from consumer.events import Events
from consumer.healing import HEALTHY, Evidence, Healing, Idle
from consumer.join import Join
from consumer.join_record import schema_of
from consumer.model import columns_of
from consumer.model_directory import Model
from consumer.outputs import Outputs
from consumer.registry import Activation, Place, Registry, Snapshot
from consumer.score import Scorer
from consumer.settings import Settings
from consumer.status import Batch, Status
from consumer.threshold import Command

# Of several replicas the owner of this partition heals; the others score.
HEALER = 0
DAY_MS = 24 * 60 * 60 * 1000


@dataclass(slots=True)
class _Partition:
    """What one partition's monitor batches and labelled batches hold."""

    cutter: BatchCutter
    fidi: signals.Fidi
    join: Join
    active: Snapshot | None = None  # in force for the rows of the current batch
    state: str = HEALTHY  # when the current batch began
    batches: int = 0
    x: list[Float32] = field(default_factory=list)
    score: list[Float32] = field(default_factory=list)
    first_offset: int = 0
    place: Place | None = None  # of the last record scored
    alarm: tuple[str, ...] = ()  # reasons of the last batch
    unanswered: tuple[str, ...] = ()  # reasons of the last alarm since the last labelled batch
    labelled: list[Labelled] = field(default_factory=list)
    labelled_rows: int = 0
    labelled_batches: int = 0


class Pipeline:
    """All stages of the partitions assigned. One thread uses it; heals run on another."""

    def __init__(
        self, settings: Settings, model: Model, *, restored: Registry | None = None
    ) -> None:
        self._settings = settings
        self._model = model
        self._topic = settings.input.transactions.topic
        self._scorer = Scorer(model)
        self._events = Events(settings.application_id, settings.instance_id)
        self._partitions: dict[int, _Partition] = {}
        self._swapped: set[int] = set()  # partitions whose adapter changed since the last commit
        self._rows = 0
        self._labelled = 0
        self._right = 0  # joined rows that the published score had right
        self._shadow_right = 0  # and that the frozen model's had
        self._last: Batch | None = None
        self._batches = 0
        self.out = Outputs()
        manifest = model.manifest
        registry = restored or Registry(manifest.model_version, manifest.base_sha256)
        self.healing = Healing(settings, model, registry, self._events, self.out)

    def start(self, deployed: Snapshot | None, now_ms: int) -> None:
        """Begin, from a restored adapter state or from the model's own."""
        self.healing.start(deployed)
        consistency = len(self._model.rules) > 0
        self.out.events.append(
            self._events.of_process(
                now_ms,
                "consumer-started",
                f"consumer started with model {self._model.manifest.model_version}, adapter "
                f"v{self.healing.deployed.version}"
                + ("" if consistency else "; no rules: the consistency term is off"),
                model_version=self._model.manifest.model_version,
                adapter_version=self.healing.deployed.version,
                consistency=consistency,
                thresholds_to=self.healing.thresholds.named(),
            )
        )

    def assign(self, partitions: Sequence[int], now_ms: int) -> None:
        """Begin empty on these partitions."""
        settings, manifest = self._settings, self._model.manifest
        columns = columns_of(manifest.fidi.features, manifest.features)
        for partition in partitions:
            self._partitions[partition] = _Partition(
                BatchCutter(settings.batch.rows, round(settings.batch.span_s * 1000)),
                signals.Fidi(
                    manifest.fidi.features,
                    columns,
                    [manifest.reference.mean[column] for column in columns],
                    [manifest.reference.sd[column] for column in columns],
                    window=settings.watch.fidi_window,
                    warmup=settings.watch.fidi_warmup,
                ),
                Join(
                    partition,
                    len(manifest.features),
                    settings.join.max_rows,
                    round(settings.join.horizon_days * DAY_MS),
                    schema_of(manifest.features),
                ),
            )
        if HEALER in partitions:
            self.healing.heals_here = True
        self._of_partitions("partitions-assigned", partitions, now_ms)

    def revoke(self, partitions: Sequence[int], now_ms: int) -> None:
        """Forget these partitions."""
        for partition in partitions:
            if self._partitions.pop(partition, None) is not None:
                self.healing.drop(partition, "its partition was revoked")
        if HEALER in partitions:
            self.healing.retire()
        self._of_partitions("partitions-revoked", partitions, now_ms)

    def rows_to_batch_end(self, partition: int, event_time: Int64) -> int | None:
        """How many of the coming records end the partition's monitor batch; None: not all do."""
        return self._partitions[partition].cutter.cut(event_time)

    def swap_needs_commit(self, partition: int) -> bool:
        """Would the batch about to begin swap the adapter for a second time since `committed`?"""
        part = self._partitions[partition]
        if part.cutter.seen:
            return False
        self.healing.collect()
        return partition in self._swapped and part.active is not self.healing.deployed

    def committed(self) -> None:
        """Take note that everything handed out so far is committed."""
        self._swapped.clear()

    def score(self, transactions: Transactions, idle: Idle) -> None:
        """Score records of one monitor batch; the driver calls `end_batch` where it ends."""
        if not len(transactions):
            return
        part = self._partitions[transactions.partition]
        if part.cutter.seen == 0:
            self._begin_batch(part, transactions)
        assert part.active is not None
        score, shadow = self._scorer(transactions.x, part.active.adapter)
        thresholds = self.healing.thresholds
        scores = Scores(
            transactions,
            score,
            shadow,
            thresholds.decision_threshold,
            thresholds.decision_decline_threshold,
            part.active.version,
            part.state,
        )
        part.cutter.take(transactions.event_time)
        part.x.append(transactions.x)
        part.score.append(score)
        part.place = Place(
            self._topic,
            transactions.partition,
            int(transactions.offset[-1]),
            int(transactions.event_time[-1]),
        )
        self._rows += len(transactions)
        self.out.scores.append(scores)
        early = part.join.add(scores)
        if early is not None:
            self._joined(part, early, idle)

    def labels(self, labels: Labels, idle: Idle) -> None:
        """Join labels to what was scored; a full labelled batch is evidence."""
        part = self._partitions[labels.partition]
        matched = part.join.match(labels)
        if len(matched.corrected):
            self.out.labelled.append(matched.corrected)
        if len(matched.joined):
            self._joined(part, matched.joined, idle)

    def end_batch(self, partition: int) -> None:
        """Watch the monitor batch that ends here, and admit what was healed meanwhile."""
        part = self._partitions[partition]
        assert part.place is not None
        thresholds = self.healing.thresholds
        x, score = np.concatenate(part.x), np.concatenate(part.score)
        signal = signals.judge(
            part.fidi.update(x),
            signals.conflicts(self._model.rules, x, score, thresholds.watch_conflict_probability),
            z_threshold=thresholds.watch_fidi_z,
            conflict_threshold=thresholds.watch_conflicts,
        )
        part.batches += 1
        raised, part.alarm = bool(part.alarm), signal.reasons
        if signal.alarm:
            part.unanswered = signal.reasons
        self._watched(part, signal, raised, len(x))
        self.healing.watch(any(p.alarm for p in self._partitions.values()), part.place)
        part.x, part.score = [], []
        part.cutter.end()
        self.healing.collect()

    def settle(self, idle: Idle) -> None:
        """Wait until no heal is open."""
        self.healing.settle(idle)

    def apply(self, command: Command, now_ms: int) -> None:
        """Set thresholds as ordered; a wrong order changes nothing and is said."""
        before = self.healing.thresholds
        try:
            after = before.changed(command.thresholds)
        except ThresholdError as error:
            self.refuse(str(error), now_ms)
            return
        old, new = before.named(), after.named()
        changed = sorted(name for name in new if new[name] != old[name])
        if not changed:
            return
        self.healing.thresholds = after
        self.out.commands.append(command)
        self.out.events.append(
            self._events.of_process(
                now_ms,
                "thresholds-changed",
                f"thresholds changed by {command.issued_by} ({command.why}): "
                + ", ".join(f"{name} {old[name]:g} -> {new[name]:g}" for name in changed),
                command_id=command.command_id,
                reason=command.why,
                thresholds_from={name: old[name] for name in changed},
                thresholds_to={name: new[name] for name in changed},
            )
        )

    def refuse(self, why: str, now_ms: int) -> None:
        """Say that an order to set thresholds cannot be followed."""
        message = f"thresholds unchanged: {why}"
        event = self._events.of_process(now_ms, "thresholds-refused", message, reason=why)
        self.out.events.append(event)

    def dead_letters(self, place: Place, counts: Counter[str]) -> None:
        """Say how many messages went to the dead letters since the last commit, and why."""
        kinds = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
        self.out.events.append(
            self._events.at(
                place,
                "dead-letters",
                f"{counts.total()} dead letters from {place.topic}[{place.partition}]: {kinds}",
                counts=dict(counts),
            )
        )

    def stop(self, why: str, now_ms: int, timeout_s: float) -> None:
        """End the worker; a heal in flight is discarded whole."""
        self.healing.close(timeout_s)
        message = f"consumer stopped: {why}"
        event = self._events.of_process(now_ms, "consumer-stopped", message, reason=why)
        self.out.events.append(event)

    def status(self) -> Status:
        """Where things stand, for a person or a probe."""
        labelled = max(self._labelled, 1)
        counts = sum((part.join.counts for part in self._partitions.values()), Counter[str]())
        return Status(
            self.healing.state,
            self.healing.deployed.version,
            len(self._partitions),
            self._rows,
            self._labelled,
            self._right / labelled,
            self._shadow_right / labelled,
            self.healing.heals,
            self.healing.rollbacks,
            self._batches,
            self._last,
            labels=dict(counts),
        )

    def _begin_batch(self, part: _Partition, transactions: Transactions) -> None:
        part.first_offset = int(transactions.offset[0])
        part.state = self.healing.state
        if part.active is not self.healing.deployed:
            part.active = self.healing.deployed
            self._swapped.add(transactions.partition)
            place = Place(
                self._topic,
                transactions.partition,
                part.first_offset,
                int(transactions.event_time[0]),
            )
            self.out.activations.append(
                Activation(place, part.active.version, self._model.manifest.model_version)
            )

    def _watched(self, part: _Partition, signal: signals.Signal, raised: bool, rows: int) -> None:
        """One metric event a batch, and an alert where the alarm was raised or has ended."""
        assert part.place is not None
        assert part.active is not None
        place, name = part.place, f"{part.place.topic}[{part.place.partition}]"
        self._batches += 1
        self._last = Batch(part.batches, signal.z, signal.conflicts.rows, part.state)
        common: dict[str, Any] = {
            "batch": part.batches,
            "z": signal.z,
            "conflicts": signal.conflicts.rows,
            "state": part.state,
            "adapter_version": part.active.version,
        }
        self.out.events.append(
            self._events.at(
                place,
                "batch-monitored",
                f"monitored batch {part.batches} of {name}",
                first_offset=part.first_offset,
                rows=rows,
                fidi=signal.fidi,
                rules=signal.conflicts.by_rule,
                alarm=signal.alarm,
                **common,
            )
        )
        if signal.alarm and not raised:
            reasons = list(signal.reasons)
            message = f"drift on {name}: {'; '.join(reasons)}"
            self.out.events.append(
                self._events.at(place, "drift-detected", message, reasons=reasons, **common)
            )
        elif raised and not signal.alarm:
            message = f"no more drift on {name}"
            self.out.events.append(self._events.at(place, "drift-recovered", message, **common))

    def _of_partitions(self, action: str, partitions: Sequence[int], now_ms: int) -> None:
        if partitions:
            verb = action.removeprefix("partitions-")
            numbers = sorted(partitions)
            message = f"{verb}: {self._topic} {', '.join(map(str, numbers))}"
            event = self._events.of_process(now_ms, action, message, partitions=numbers)
            self.out.events.append(event)

    def _joined(self, part: _Partition, rows: Labelled, idle: Idle) -> None:
        self.out.labelled.append(rows)
        fraud = rows.is_fraud == 1
        self._labelled += len(rows)
        self._right += int(((rows.score >= rows.threshold) == fraud).sum())
        self._shadow_right += int(((rows.shadow >= rows.threshold) == fraud).sum())
        part.labelled.append(rows)
        part.labelled_rows += len(rows)
        size = self._settings.batch.rows
        if part.labelled_rows < size:
            return
        held = Labelled.concatenate(part.labelled)
        start = 0
        while len(held) - start >= size:
            if self._partitions.get(rows.partition) is not part:
                return  # revoked while an inline heal was waited for
            self._labelled_batch(part, held.rows(start, start + size), idle)
            start += size
        part.labelled = [held.rows(start, len(held))]
        part.labelled_rows = len(held) - start

    def _labelled_batch(self, part: _Partition, rows: Labelled, idle: Idle) -> None:
        part.labelled_batches += 1
        place = Place(
            self._topic, rows.partition, int(rows.offset[-1]), int(rows.labelled_at.max())
        )
        reasons, part.unanswered = part.alarm or part.unanswered, ()
        self.healing.labelled_batch(Evidence(rows, part.labelled_batches, place, reasons), idle)
