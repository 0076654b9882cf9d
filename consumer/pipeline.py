"""The stages in one direction, without Kafka, clock or logger: score, join, watch, heal.

A driver (the loop, a test, a study) hands in decoded columns in the order in which they count and
takes the outputs. Whatever the driver's chunks, the same order of records gives the same outputs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from consumer import chain, costs, failpoints, notices
from consumer.breaker import Trip
from consumer.columns import Float32, Float64, Int64, Labels, Scores, Transactions
from consumer.command import Command, SetThresholds
from consumer.decision import Reviews, share_of
from consumer.events import Events
from consumer.governor import Governor
from consumer.join import Join
from consumer.join_record import schema_of
from consumer.matured import Matured
from consumer.model_directory import Model
from consumer.outputs import Outputs
from consumer.partition import DeadLetters, Partition, Restored
from consumer.policies import policy_of
from consumer.policy import Idle
from consumer.profile import Stage, off
from consumer.registry import Activation, InForce, Place, Registry
from consumer.rule_evidence import RuleEvidence
from consumer.running import Running
from consumer.score import Scorer
from consumer.segments import Segments
from consumer.settings import DAY_MS, Settings
from consumer.signals import Signal
from consumer.status import Batch, Status
from consumer.watch import Watch

# Of several replicas the owner of this partition heals; the others score.
HEALER = 0
# At most one event about dead letters in so many offsets of a topic: the first one says so at once,
# and a flood of them is no flood of events.
DEAD_WINDOW = 1_000


class Pipeline:
    """All stages of the partitions assigned. One thread uses it; heals run on another."""

    def __init__(
        self,
        settings: Settings,
        model: Model,
        *,
        restored: Registry | None = None,
        stage: Stage = off,
        partitions: int = 1,
    ) -> None:
        """`stage`: is told which stage works, so that a driver can time it.

        `partitions`: of the topic of transactions, ours or not: they share the reviews of an hour.
        """
        self._of = partitions
        self._segments = Segments(settings.segments, model.features)
        self._settings = settings
        self._model = model
        self._topic = settings.input.transactions.topic
        self._inline = settings.heal.mode == "inline"
        costs.check(settings.cost, model.features)
        self._scorer = Scorer(model)
        self._stage = stage
        self._events = Events(settings.application_id, settings.instance_id)
        self._partitions: dict[int, Partition] = {}
        self._fresh: list[int] = []  # assigned, and not yet resumed
        self._swapped: set[int] = set()  # partitions whose adapter changed since the last commit
        self._last: Batch | None = None
        self.out = Outputs()
        self.head = chain.Head()  # of the healer's decisions
        manifest = model.manifest
        registry = restored or Registry(manifest.model_version, manifest.base_sha256)
        self.healing = policy_of(settings)(settings, model, registry, self._events, self.out)
        self.governor = Governor(settings, model, self._events, self.out, self.healing)
        self._matured = Matured(
            settings, self._partitions, self._events, self.out, self.healing, self.governor, stage
        )

    def start(self, deployed: InForce | None, now_ms: int, why: str = "process start") -> None:
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
                reason=why,
                model_version=self._model.manifest.model_version,
                adapter_version=self.healing.deployed.version,
                consistency=consistency,
                thresholds_to=self.healing.thresholds.named(),
            )
        )

    def assign(
        self,
        partitions: Sequence[int],
        now_ms: int,
        restored: Mapping[int, Restored] | None = None,
    ) -> None:
        """Begin on these partitions, empty or as their last commit left them."""
        settings = self._settings
        for number in partitions:
            part = Partition(
                Watch(settings, self._model, cuts=self.healing.remembers),
                Join(
                    number,
                    len(self._model.features),
                    settings.join.max_rows,
                    round(settings.join.horizon_days * DAY_MS),
                    schema_of(self._model.features),
                    settings.input.labels.precedence,
                    self._segments.columns,
                    self._segments.declared,
                ),
                Running(
                    settings.prequential.window_rows,
                    settings.cost,
                    self._model.features,
                    self._segments,
                ),
                RuleEvidence(self._model.rules),
                Reviews(self._reviews_of(number)),
            )
            if restored and number in restored:
                found = restored[number]
                part.load(found)
                self.healing.bring_back(found.memory, found.unweighed)
                self._events.load(number, restored[number].state.get("ordinals", {}))
            self._partitions[number] = part
            self._fresh.append(number)
        if HEALER in partitions:
            self.healing.take_charge()
            left = restored[HEALER].state if restored and HEALER in restored else {}
            self.governor.begin(left.get("controller"))
        self._of_partitions("partitions-assigned", partitions, now_ms)

    def resume(self, idle: Idle) -> None:
        """End what a restart found half done, before anything new is processed."""
        if not self._fresh:
            return
        self.healing.resume()
        if self._inline:
            self.healing.settle(idle)
        while self._fresh:
            number = self._fresh.pop(0)
            if (part := self._partitions.get(number)) is not None:
                self._matured.batches(part, number, idle)

    def checkpoint(self, partition: int) -> dict[str, Any]:
        """What `assign` needs to begin where the partition stands now."""
        state = self._partitions[partition].checkpoint()
        remembered = self.healing.remembered(partition)
        state |= {"ordinals": self._events.state(partition), "remembered": remembered}
        return state | (self.governor.state() if partition == HEALER else {})

    def revoke(self, partitions: Sequence[int], now_ms: int) -> None:
        """Forget these partitions."""
        for partition in partitions:
            if self._partitions.pop(partition, None) is not None:
                self.healing.drop(partition, "its partition was revoked")
        if HEALER in partitions:
            self.healing.retire()
        self._fresh = [number for number in self._fresh if number in self._partitions]
        self._of_partitions("partitions-revoked", partitions, now_ms)

    def joins(self, partitions: Iterable[int]) -> dict[int, Join]:
        """The joins of those of them that are ours."""
        return {n: self._partitions[n].join for n in partitions if n in self._partitions}

    def rows_to_batch_end(self, partition: int, event_time: Int64) -> int | None:
        """How many of the coming records end the partition's monitor batch; None: not all do."""
        return self._partitions[partition].watch.rows_to_end(event_time)

    def rows_to_change(self, partition: int, x: Float32) -> int | None:
        """How many of the coming records of the batch, `x: (rows, features)`, show a change.

        The driver calls `end_batch` there as well, and the batch is cut.
        """
        return self._partitions[partition].watch.rows_to_change(x)

    def swap_needs_commit(self, partition: int) -> bool:
        """Would what is about to begin swap the adapter for a second time since `committed`?"""
        part = self._partitions[partition]
        if part.watch.rows:
            return False
        self.healing.collect()
        return partition in self._swapped and part.active != self.healing.deployed

    def take(self) -> Outputs:
        """Hand over what there is; where the healing is done, its decisions join the chain."""
        out = self.out.take()
        if self.healing.heals_here:
            out.events, self.head = chain.seal(out.events, self.head)
        return out

    def committed(self) -> None:
        """Take note that everything handed out so far is committed."""
        self._swapped.clear()

    def score(self, transactions: Transactions, idle: Idle) -> None:
        """Score records of one monitor batch; the driver calls `end_batch` where it ends."""
        if not len(transactions):
            return
        part = self._partitions[transactions.partition]
        if part.watch.rows == 0:
            self._begin_batch(part, transactions)
        assert part.active is not None
        with self._stage("score"):
            score, shadow = self._scorer(transactions.x, part.active)
        thresholds = self.healing.thresholds
        # Float64: as they are published, against thresholds as they are published.
        decision, shadow_decision, threshold = part.reviews.decide(
            score.astype(np.float64),
            shadow.astype(np.float64),
            *self._limits(transactions.x),
            transactions.event_time,
        )
        scores = Scores(
            transactions,
            score,
            shadow,
            threshold,
            decision,
            shadow_decision,
            part.active.version,
            part.state,
            part.active.provisional,
        )
        if self.healing.remembers:
            part.rows.append(transactions)
        probability = thresholds.watch_conflict_probability
        with self._stage("watch"):
            part.watch.take(transactions.event_time, transactions.x, score, probability)
        part.place = Place(
            self._topic,
            transactions.partition,
            int(transactions.offset[-1]),
            int(transactions.event_time[-1]),
        )
        part.scored += len(transactions)
        self.out.scores.append(scores)
        with self._stage("join"):
            early = part.join.add(scores)
            self._matured.changed(transactions.partition, part)
        if early is not None:
            self._matured.early(part, early, idle)

    def labels(self, labels: Labels, idle: Idle) -> None:
        """Join labels to what was scored; a full labelled batch is evidence."""
        self._matured.labels(labels, idle)

    def labels_to_boundary(self, partition: int, labelled_at: Int64) -> int:
        """How many of the coming labels can be joined before something is decided on them.

        A driver that commits hands over no more at once: the decision may wait for a heal, and a
        commit meanwhile must not count labels as read that were not joined yet.
        """
        return self._matured.to_boundary(self._partitions[partition], labelled_at)

    def quiet_labels(self, partition: int, labelled_at: Int64) -> int:
        """How many of the coming labels can be joined before anything may be said of them.

        Until then it is all one in which order those of several partitions are joined.
        """
        return self._matured.quiet(self._partitions[partition], labelled_at)

    def end_batch(self, partition: int, idle: Idle) -> None:
        """Watch the monitor batch that ends or is cut here, and admit what was healed meanwhile."""
        part = self._partitions[partition]
        rows, batches = part.watch.seen, part.monitor_batches()
        part.rows = []
        with self._stage("watch"):
            signal = part.watch.end(self.healing.thresholds)
        if signal is not None:
            self._monitored(part, signal, rows)
        with self._stage("heal"):
            self.healing.collect()
        if signal is not None:
            self._matured.rest(part, idle)
        with self._stage("heal"):
            if batches:
                self.healing.batch_ended(batches, idle)

    def _monitored(self, part: Partition, signal: Signal, rows: int) -> None:
        assert part.place is not None
        part.reviews.batch_ended()
        part.running.review_share = part.reviews.share
        part.batches += 1
        raised, part.alarm = bool(part.alarm), signal.reasons
        if signal.alarm:
            part.unanswered = signal.reasons
        self._last = Batch(part.batches, signal.z, signal.conflicts.rows, part.state)
        self.out.events += notices.monitored(self._events, part, signal, raised=raised, rows=rows)
        with self._stage("heal"):
            self.healing.watch(any(p.alarm for p in self._partitions.values()), part.place)

    def settle(self, idle: Idle) -> None:
        """At the end of both topics: wait until no heal is open, and say what came to be."""
        for part in list(self._partitions.values()):
            self._matured.rest(part, idle)
        self.healing.settle(idle)
        for _, part in sorted(self._partitions.items()):
            for dead in part.dead.values():
                if dead.said < dead.counts.total():
                    self._say(dead)

    def command(self, order: Command, place: Place, named: InForce | None = None) -> None:
        """Follow an order from the commands topic, once an id.

        `named`: the version that it names, with the weights it had; None where there is none.
        """
        if not self.healing.control.is_new(order.command_id):
            return
        if isinstance(order, SetThresholds):
            self.governor.apply(order, place.time_ms, recorded=True)
        else:
            self.healing.command(order, place, named)

    def refuse_command(self, place: Place, why: str) -> None:
        """Say that a record of the commands topic is no order."""
        self.healing.refuse(place, why, {})

    def dead_letter(self, place: Place, kind: str) -> None:
        """Count a message that went to the dead letters; the first of a window is said at once."""
        part = self._partitions[place.partition]
        dead = part.dead.setdefault(place.topic, DeadLetters())
        dead.counts[kind] += 1
        dead.at = place
        window = place.offset // DEAD_WINDOW
        if dead.window != window:
            dead.window = window
            self._say(dead)

    def flood(self, place: Place, trip: Trip) -> None:
        """Say that nothing more is read from a topic's partition: it floods the dead letters."""
        self.out.events.append(notices.flood(self._events, place, trip))

    def warn(self, action: str, message: str, now_ms: int) -> None:
        """Say something about the set-up that a person must put right."""
        self.out.events.append(self._events.of_process(now_ms, action, message, reason=message))

    def _say(self, dead: DeadLetters) -> None:
        dead.said = dead.counts.total()
        self.out.events.append(notices.dead_letters(self._events, dead))

    def stop(self, why: str, now_ms: int, timeout_s: float) -> None:
        """End the worker; a heal in flight is discarded whole."""
        self.healing.close(timeout_s)
        message = f"consumer stopped: {why}"
        event = self._events.of_process(now_ms, "consumer-stopped", message, reason=why)
        self.out.events.append(event)

    def status(self) -> Status:
        """Where things stand, for a person or a probe."""
        parts = self._partitions.values()
        joined = sum(part.joined for part in parts)
        labels = sum((part.join.counts for part in parts), Counter[str]())
        return Status(
            self.healing.state,
            self.healing.deployed.version,
            len(parts),
            sum(part.scored for part in parts),
            joined,
            sum(part.right for part in parts) / max(joined, 1),
            sum(part.shadow_right for part in parts) / max(joined, 1),
            self.healing.heals,
            self.healing.rollbacks,
            sum(part.batches for part in parts),
            self._last,
            dead_letters=sum(d.counts.total() for part in parts for d in part.dead.values()),
            labels=dict(labels),
            beyond=sum(part.reviews.healed.beyond for part in parts),
        )

    def _limits(self, x: Float32) -> tuple[float | Float64, float | Float64, float | Float64]:
        """Thresholds of the decision on `x: (rows, features)`; the third: without reviews."""
        cost, decision = self._settings.cost, self.healing.thresholds.decision
        if cost.reviews_per_hour is None and not self._settings.by_amount:
            return *decision, decision[1]
        missed = costs.amounts(cost, self._model.features, x)
        even, _ = costs.bounds(missed, cost.false_alarm[0], None)
        if not self._settings.by_amount:
            return *decision, even
        return *costs.bounds(missed, cost.false_alarm[0], cost.review), even

    def _reviews_of(self, partition: int) -> int | None:
        per_hour = self._settings.cost.reviews_per_hour
        return None if per_hour is None else share_of(per_hour, partition, self._of)

    def _begin_batch(self, part: Partition, transactions: Transactions) -> None:
        part.rows_from = int(transactions.offset[0])
        if part.watch.seen == 0:
            part.first_offset = part.rows_from
        part.state = self.healing.state
        if part.active != self.healing.deployed:
            failpoints.reach("swap")
            part.active = self.healing.deployed
            self._swapped.add(transactions.partition)
            place = Place(
                self._topic,
                transactions.partition,
                part.rows_from,
                int(transactions.event_time[0]),
            )
            self.out.activations.append(
                Activation(place, part.active, self._model.manifest.model_version)
            )

    def _of_partitions(self, action: str, partitions: Sequence[int], now_ms: int) -> None:
        if partitions:
            verb = action.removeprefix("partitions-")
            numbers = sorted(partitions)
            message = f"{verb}: {self._topic} {', '.join(map(str, numbers))}"
            event = self._events.of_process(now_ms, action, message, partitions=numbers)
            self.out.events.append(event)
