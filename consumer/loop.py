"""One poll, one direction: poll, decode, order, stages, one Kafka transaction for what came of it.

The loop owns the clock and the two Kafka ends; the stages know neither.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import structlog

from consumer import failpoints, model_directory, restore
from consumer.allocation import steady
from consumer.checkpoints import Checkpoints
from consumer.command import read_key
from consumer.errors import (
    AbortedError,
    CommandError,
    EvictedError,
    KafkaUnavailableError,
    RebalancedError,
    ThresholdError,
)
from consumer.intake import Decoded, Intake
from consumer.kafka import membership, topics
from consumer.kafka.bounded import nothing
from consumer.kafka.dead_letters import DeadLetter
from consumer.kafka.reader import Reader, ends
from consumer.kafka.sink import Sink
from consumer.kafka.source import POLL_RECORDS, Polled, Source
from consumer.model_directory import Model
from consumer.order import Lane, Queue, Sequencer
from consumer.orders import Orders
from consumer.pipeline import HEALER, Pipeline
from consumer.profile import Profile, off
from consumer.publish import Publisher
from consumer.registry import Place
from consumer.restore import RegistryTopic
from consumer.settings import Settings
from consumer.status import Status
from consumer.threshold import Thresholds, read_command

log = structlog.get_logger()

# A quiet topic wakes the loop ten times a second: often enough to see a signal, a finished heal.
IDLE_POLL_S = 0.1
# A heal in flight at shutdown gets so long to end before it is discarded; the rest of a shutdown
# takes well under a second, and five are promised.
CLOSE_S = 2.0
# A commit takes the broker some 15 ms; to decode a record takes 1 us.
COMMIT_RECORDS = 3 * POLL_RECORDS
# Waiting for an inline heal, the loop commits what it has before the broker's patience is at stake.
WAIT_COMMIT_S = 1.0

# Activations are forgotten after months: a minute more or less does not matter.
FORGET_S = 60.0

# What was not committed is done again as long as the broker may come back; and not for ever where
# the same commit fails each time.
RECOVER_S = 60.0
MOST_ABORTS = 5

OnStatus = Callable[[Status], None]


class Loop:
    """One consumer process, from joining the group to leaving it."""

    def __init__(
        self,
        settings: Settings,
        model: Model,
        *,
        until_end: bool = False,
        on_status: OnStatus | None = None,
        profile: Profile | None = None,
    ) -> None:
        self._profile = profile
        self._stage = profile or off
        self._settings = settings
        self._model = model
        self._until_end = until_end
        self._on_status = on_status
        self._why_stop: str | None = None
        given = settings.input
        self._transactions = given.transactions.topic
        self._labels = given.labels.topic
        self._rows = 0  # scored since the last commit
        self._commits_at = 0.0  # the next one, and not before
        self._aborts = 0  # since a commit last moved an offset
        self._clients = ExitStack()  # and what ends with them, from one way back to the next
        self._membership = ExitStack()  # of the group: the source
        self._failed = False
        self._polled_at = time.monotonic()
        self._last_status: Status | None = None  # before our partitions went
        self._committed: dict[tuple[str, int], int] = {}
        self._backlog: list[Polled] = []
        self._orders: Orders | None = None  # where we heal
        self._forgets_at = 0.0

    def stop(self, why: str) -> None:
        """Finish the batch in hand, commit and leave; may be called from a signal handler."""
        self._why_stop = self._why_stop or why

    def reload_thresholds(self) -> None:
        """Read `decision.threshold_config` again before the next poll."""
        self._threshold_why = "SIGHUP"
        self._apply_thresholds = True

    @property
    def status(self) -> Status:
        """Where things stand."""
        return self._last_status or self._status()

    def _status(self) -> Status:
        flooded = self._intake.flooded.items()
        return replace(
            self._pipeline.status(),
            ready=bool(self._sequencer.lanes),
            lag=self._source.lag(dict(self._positions())),
            paused={f"{topic}[{number}]": trip.reason for (topic, number), trip in flooded},
            polled_s=time.monotonic() - self._polled_at,
        )

    def run(self) -> Status:
        """Consume until stopped, or with `until_end` until all is read and every heal has ended.

        Raises: KafkaUnavailableError, FencedError, RegistryError, ModelError, ThresholdError,
        CommandError.
        """
        settings = self._settings
        model_directory.one_thread()
        if settings.commands.key_file is not None:
            read_key(settings.commands.key_file)  # now, not where we come to heal
        if settings.decision.threshold_config is not None:
            # At start a wrong file is an error; later, on SIGHUP, it changes nothing and is said.
            file = settings.decision.threshold_config
            command = read_command(file, "start", _now_ms())
            try:
                Thresholds.of(settings).changed(command.thresholds)
            except ThresholdError as error:
                raise ThresholdError(f"{file}: {error}") from error
        self._topics = topics.ensure(settings)
        inputs = (self._transactions, self._labels)
        self._ends = ends(settings.kafka, inputs) if self._until_end else None
        try:
            self._begin("process start")
            with steady():
                self._run()
        except BaseException:
            self._failed = True
            raise
        finally:
            self._close(membership=True)
        return self.status

    def _close(self, *, membership: bool) -> None:
        """The group is left first."""
        with self._clients:
            if membership:
                self._membership.close()

    def _begin(self, why: str, *, rejoin: bool = True) -> None:
        """Stages without partitions, and the adapter that the registry topic says is deployed."""
        settings, opened = self._settings, self._clients
        # First: it ends a transaction that a process of the same id has left open, killed or not.
        self._sink = Sink(settings)
        opened.callback(self._sink.close)
        self._registry = RegistryTopic(settings, self._model, self._topics.max_snapshot_bytes)
        opened.callback(self._registry.close)
        opened.callback(self._close_orders)
        deployed = self._registry.deployed
        if deployed is not None:
            log.info("resuming from the registry", adapter_version=deployed.version)
        self._pipeline = Pipeline(
            settings,
            self._model,
            restored=self._registry.registry,
            stage=self._stage,
            partitions=self._topics.partitions,
        )
        opened.callback(self._pipeline.healing.close, CLOSE_S)
        self._pipeline.governor.follow(self._registry.thresholds)
        self._sequencer: Sequencer[DeadLetter] = Sequencer(
            self._pipeline,
            settings.order(until_end=self._until_end),
            self._wait,
            self._commit,
            self._dead_letter,
        )
        self._publisher = Publisher(
            settings,
            self._sink,
            self._model.features,
            self._model.manifest.model_version,
            self._stage,
        )
        self._checkpoints = Checkpoints(settings, self._model, self._sink)
        self._intake = Intake(settings, self._model, self._topics.partitions, self._stage)
        self._ahead = Decoded()
        self._backlog.clear()
        self._committed = {}
        self._rows = 0
        self._apply_thresholds = settings.decision.threshold_config is not None
        self._threshold_why = "start"
        self._pipeline.start(deployed, _now_ms(), why)
        self._failed = False
        if rejoin:
            self._source = Source(settings, self, self._ends, self._stage)
            self._membership.callback(self._leave, self._source)
        else:
            self._source.restart()

    def _leave(self, source: Source) -> None:
        """After an error nothing of the open transaction may be seen, no offset moves any more."""
        if self._failed:
            source.abandon()
        else:
            source.close()

    def _run(self) -> None:
        while True:
            try:
                why = self._consume()
                self._pipeline.stop(why, _now_ms(), CLOSE_S)
                self._commit()
            except AbortedError as error:
                self._recover(error)
            else:
                self._last_status = self._status()
                return

    def _recover(self, error: AbortedError) -> None:
        """Go back to the last commit, offsets and state, with clients that nothing has befallen."""
        evicted = isinstance(error, EvictedError)
        # To join anew would have the group share out once more, and again with each commit of ours.
        rejoin = not isinstance(error, RebalancedError)
        if evicted:
            self._sink.check(self._settings.topic("events"))
        else:
            self._aborts += 1
        if self._aborts > MOST_ABORTS:
            raise error
        log.warning("going back to the last commit", reason=str(error))
        deadline = time.monotonic() + RECOVER_S
        while True:
            self._failed = True
            self._close(membership=rejoin)
            try:
                if evicted and self._settings.delivery == "at_least_once":
                    membership.wait_until_forgotten(self._settings)
                self._begin(f"back to the last commit ({error})", rejoin=rejoin)
            except KafkaUnavailableError:
                rejoin = True
                if time.monotonic() > deadline or self._why_stop is not None:
                    raise
                time.sleep(1)
            else:
                return

    # --- Rebalance: called by the source while polling ---

    def assigned(
        self, partitions: Sequence[int], committed: dict[tuple[str, int], int]
    ) -> dict[tuple[str, int], int]:
        """Begin lanes for these partitions, where and how the last owner left them."""
        failpoints.reach("rebalance")
        self._commit()  # or the topics would not be read to their end: it lies behind our records
        topics_ = (self._transactions, self._labels)
        starts: dict[tuple[str, int], int] = {}
        self._registry.catch_up()
        self._pipeline.governor.follow(self._registry.thresholds)
        with Reader(self._settings.kafka) as reader:
            restored = {}
            for number in partitions:
                known = {t: committed[t, number] for t in topics_ if (t, number) in committed}
                found, positions = self._checkpoints.read(reader, number, known)
                lane = self._sequencer.lanes[number] = Lane()
                if found is not None:
                    restored[number] = self._checkpoints.restored(
                        reader, number, found, self._registry
                    )
                    if found.lane:
                        lane.load(found.lane)
                lane.transactions.position = positions.get(self._transactions, -1)
                lane.labels.position = positions.get(self._labels, -1)
                starts |= {(topic, number): at for topic, at in positions.items() if at >= 0}
                if number == HEALER:
                    healing = self._pipeline.healing
                    if self._registry.deployed is not None:
                        healing.follow(self._registry.deployed)
                    self._checkpoints.take_over(reader, healing, found, self._registry)
                    self._orders = Orders(self._settings, self._model, healing.control.read)
                    self._pipeline.head = restore.head(reader, self._settings, number)
            self._pipeline.assign(partitions, _now_ms(), restored)
        self._committed |= starts
        return starts

    def revoked(self, partitions: Sequence[int]) -> None:
        """Commit what was processed, and forget them."""
        failpoints.reach("rebalance")
        try:
            self._commit()
            self._checkpoints.forget(self._pipeline.joins(partitions))
        finally:
            for number in partitions:
                self._sequencer.lanes.pop(number, None)
            self._intake.forget(partitions)
            self._pipeline.revoke(partitions, _now_ms())
            if HEALER in partitions:
                self._close_orders()
        self._commit()

    # --- One turn ---

    def _consume(self) -> str:
        """Until there is a reason to stop. The end is none for ever: an abort may lie before it."""
        while self._why_stop is None:
            decoded = self._ahead
            if not decoded.any():
                wait_s = self._to_commit_s if self._sink.is_open else IDLE_POLL_S
                decoded = self._decode(self._poll(min(wait_s, IDLE_POLL_S)))
            self._ahead = Decoded()
            # Who has no partition scores nothing, and does not know yet whether it heals.
            if self._apply_thresholds and self._sequencer.lanes:
                self._read_thresholds()
            self._process(decoded)
            while self._backlog:
                self._process(self._decode(self._backlog.pop(0)))
            # A heal may end while the stream is quiet; what it made counts from the next batch on.
            self._pipeline.healing.collect()
            self._follow()
            self._follow_orders()
            self._forget_activations()
            is_due = self._sink.is_open and not self._to_commit_s
            if is_due or self._rows >= self._settings.commit.max_rows:
                self._commit_and_decode()
            # What was decoded during a commit is still to be processed, and the flood said.
            if self._until_end and self._intake.flooded and not self._ahead.any():
                self._commit()
                self._intake.refuse_flood()
            if self._source.finished and not self._ahead.any() and not self._waiting_rows():
                with self._stage("wait"):
                    self._pipeline.settle(self._wait)
                return "both topics are read to where they ended at the start"
        return self._why_stop

    @property
    def _to_commit_s(self) -> float:
        """Seconds until the next commit is due: from one's beginning to the next one's.

        So what comes after a quiet time is committed at once, and a slow commit delays none.
        """
        return max(0.0, self._commits_at - time.monotonic())

    def _poll(self, wait_s: float, most: int = POLL_RECORDS) -> Polled:
        polled = self._source.poll(wait_s, self._to_commit_s, most=most)
        self._polled_at = time.monotonic()
        if self._profile is not None and polled.records:
            self._profile.begin()
        return polled

    def _commit_and_decode(self) -> None:
        """Commit, and decode what has come while the broker writes.

        Polled before: polling may give partitions away, and that commits.
        """
        polled = [self._poll(0, COMMIT_RECORDS)]

        def decode() -> None:
            if polled:
                self._ahead = self._decode(polled.pop())

        self._commit(decode)
        decode()  # there may have been nothing to wait for

    def _follow(self) -> None:
        """Where another replica heals, begin batches with what it has deployed last."""
        deployed = self._registry.follow()
        if self._pipeline.healing.heals_here:
            return
        self._pipeline.governor.follow(self._registry.thresholds)
        if deployed is not None:
            self._pipeline.healing.follow(deployed)

    def _follow_orders(self) -> None:
        """Where we heal, do what people have ordered since."""
        if self._orders is None:
            return
        for record in self._orders.added():
            at = Place(record.topic, record.partition, record.offset, record.timestamp_ms)
            try:
                order = self._orders.read(record)
            except CommandError as error:
                self._dead_letter(DeadLetter(record, "CommandError", str(error)))
                self._pipeline.refuse_command(at, str(error))
            else:
                self._pipeline.command(order, at, self._orders.named(order))
            self._pipeline.healing.control.read = record.offset + 1

    def _forget_activations(self) -> None:
        """Where we heal, have the registry topic forget what no audit asks for any more."""
        now = time.monotonic()
        if self._pipeline.healing.heals_here and now > self._forgets_at:
            self._forgets_at = now + FORGET_S
            for key, value in self._registry.expiry.due(_now_ms()):
                self._sink.begin()
                self._sink.produce(self._settings.topic("registry"), key, value, partition=0)

    def _close_orders(self) -> None:
        if self._orders is not None:
            self._orders.close()
            self._orders = None

    def _waiting_rows(self) -> int:
        return sum(
            len(lane.transactions) + len(lane.labels) for lane in self._sequencer.lanes.values()
        )

    def _decode(self, polled: Polled) -> Decoded:
        return self._intake.decode(polled, self._sequencer.lanes, _now_ms())

    def _process(self, decoded: Decoded) -> None:
        for mismatch in decoded.mismatches:
            self._pipeline.warn("partitioner-mismatch", mismatch, _now_ms())
        for (topic, partition), taken in decoded.taken.items():
            lane = self._sequencer.lanes[partition]
            if taken.trip is not None:
                at = Place(topic, partition, taken.trip.offset, _now_ms())
                self._pipeline.flood(at, taken.trip)
            queue: Queue[Any, DeadLetter] = (
                lane.transactions if topic == self._transactions else lane.labels
            )
            # Behind a trip nothing more comes while we live: what else there is need not wait.
            queue.at_end = taken.trip is not None and not self._until_end
            with self._stage("order"):
                queue.put(taken.rows, taken.letters, taken.read)
        for topic, partition in decoded.ends:
            ended = self._sequencer.lanes.get(partition)
            if ended is not None and topic == self._transactions:
                ended.transactions.at_end = True
            elif ended is not None:
                ended.labels.at_end = True
        with self._stage("order"):
            self._sequencer.run()
        self._source.pause(self._full())
        self._publish()
        if self._on_status is not None:
            self._on_status(self.status)

    def _full(self) -> Iterator[tuple[str, int]]:
        for partition, lane in self._sequencer.lanes.items():
            for topic, queue in (
                (self._transactions, lane.transactions),
                (self._labels, lane.labels),
            ):
                paused = self._source.is_paused(topic, partition)
                if (topic, partition) in self._intake.flooded or self._sequencer.is_full(
                    partition, queue, paused=paused
                ):
                    yield topic, partition

    def _wait(self) -> None:
        """Called while the loop waits for an inline heal: stay in the group, lose no record."""
        if self._sink.open_for_s > WAIT_COMMIT_S:
            self._commit()
        with self._source.all_paused():
            polled = self._poll(0)
        if polled.records or polled.ends:
            self._backlog.append(polled)

    def _read_thresholds(self) -> None:
        self._apply_thresholds = False
        file = self._settings.decision.threshold_config
        if file is None:
            log.warning("SIGHUP: decision.threshold_config names no file, nothing to apply")
            return
        try:
            command = read_command(file, self._threshold_why, _now_ms())
        except ThresholdError as error:
            self._pipeline.governor.refuse(str(error), _now_ms())
        else:
            self._pipeline.governor.apply(command, _now_ms())
        self._publish()

    # --- Out ---

    def _dead_letter(self, letter: DeadLetter) -> None:
        """Add a record that cannot be read to the transaction, and count it."""
        record = letter.record
        self._sink.begin()
        self._publisher.dead_letter(letter)
        at = Place(record.topic, record.partition, record.offset, record.timestamp_ms)
        self._pipeline.dead_letter(at, letter.kind)

    def _publish(self) -> None:
        """Add to the transaction what the stages decided."""
        out = self._pipeline.take()
        if not out.any():
            return
        self._sink.begin()
        self._publisher.publish(out)
        rows = sum(map(len, out.scores))
        self._rows += rows
        if self._profile is not None:
            self._profile.rows += rows

    def _commit(self, meanwhile: Callable[[], None] = nothing) -> None:
        """Commit what is published, with the offsets and the state of what was processed."""
        self._publish()
        with self._stage("commit"):
            self._commit_published(meanwhile)

    def _commit_published(self, meanwhile: Callable[[], None]) -> None:
        positions = {place: at for place, at in self._positions() if at >= 0}
        if not self._sink.is_open and positions == self._committed:
            return
        interval_s, begun = self._settings.commit.interval_ms / 1000, time.monotonic()
        at_once = self._settings.delivery == "at_least_once"
        # Without a transaction a crash may come between any two of these. The join may not remember
        # rows that were not published, nor the checkpoint what the join does not.
        if at_once:
            self._sink.flush(meanwhile)
        self._publisher.pending()
        if at_once:
            self._sink.flush()
        self._sink.begin()
        by_partition: dict[int, dict[str, int]] = {number: {} for number in self._sequencer.lanes}
        for (topic, number), at in positions.items():
            by_partition[number][topic] = at
        self._checkpoints.write(self._pipeline, self._sequencer.lanes, by_partition)
        failpoints.reach("produced")
        # All of them, moved or not: the group subscribes to the transactions alone, and the broker
        # forgets offsets of other topics a week (offsets.retention.minutes) after their commit.
        offsets = self._source.offsets(positions)
        if at_once:
            self._sink.flush()
            self._source.commit(offsets)
        else:
            self._sink.commit(offsets, self._source.group(), meanwhile)
        self._pipeline.committed()
        # An offset that was told for the first time has not moved: it may be where reading began.
        if any(at > self._committed.get(place, at) for place, at in positions.items()):
            self._aborts = 0
        now = time.monotonic()
        # A broker that takes longer than that has at most half of the time.
        self._commits_at = max(begun + interval_s, now + min(interval_s, now - begun))
        if self._profile is not None and positions != self._committed:
            self._profile.committed()
        self._committed = positions
        self._rows = 0
        self._checkpoints.cache(self._pipeline.joins(self._sequencer.lanes))

    def _positions(self) -> Iterator[tuple[tuple[str, int], int]]:
        for partition, lane in self._sequencer.lanes.items():
            yield (self._transactions, partition), lane.transactions.position
            yield (self._labels, partition), lane.labels.position


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
