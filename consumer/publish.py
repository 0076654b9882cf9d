"""From outputs to records: everything the stages decided, each on its topic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import orjson
import structlog

from consumer import encode
from consumer.command import APPLIED_BY
from consumer.events import Event
from consumer.join_record import Change
from consumer.kafka import dead_letters
from consumer.kafka.dead_letters import DeadLetter
from consumer.kafka.sink import Sink
from consumer.outputs import Outputs
from consumer.profile import Stage, off
from consumer.registry import DEPLOYED
from consumer.segments import Segments
from consumer.settings import Settings

log = structlog.get_logger()

# What a person on call is to see where the log shows warnings only.
TROUBLE = {
    "drift-detected",
    "rollback",
    "cannot-heal",
    "signal-lost",
    "thresholds-refused",
    "command-refused",
    "approval-requested",
    "approval-expired",
    "dead-letters",
    "dead-letter-flood",
    "labels-in-trouble",
    "partitioner-mismatch",
}


class Publisher:
    """Adds to the sink's transaction."""

    def __init__(
        self,
        settings: Settings,
        sink: Sink,
        features: Sequence[str],
        model_version: str,
        stage: Stage = off,
    ) -> None:
        self._settings = settings
        self._sink = sink
        self._features = features
        self._segments = Segments(settings.segments, features)
        self._model_version = model_version
        self._stage = stage
        self._transactions = settings.input.transactions.topic
        self._pending: list[tuple[int, Sequence[Change]]] = []

    def publish(self, out: Outputs) -> None:
        """Everything in `out`; the join's changelog waits for `pending`."""
        self._registry(out)
        for scores in out.scores:
            with self._stage("encode"):
                encoded = encode.scores(scores, self._transactions, self._model_version)
            self._produce("scores", encoded, scores.transactions.partition)
        for rows, correction in out.joined():
            with self._stage("encode"):
                encoded = encode.labelled(
                    rows,
                    self._transactions,
                    self._features,
                    self._segments,
                    correction=correction,
                )
            self._produce("labelled", encoded, rows.partition)
        self._pending += out.pending
        for command in out.commands:
            # Told to those who read the topic, not ordered once more.
            told = [(APPLIED_BY, self._settings.instance_id.encode())]
            topic = self._settings.topic("commands")
            self._sink.produce(topic, command.command_id, command.value, partition=0, headers=told)
        self._events(out.events)

    def pending(self) -> None:
        """What the join has kept and let go since the last call."""
        for partition, changes in self._pending:
            self._produce("pending", changes, partition)
        self._pending.clear()

    def dead_letter(self, letter: DeadLetter) -> None:
        """A record that cannot be read, to the partition number it came from."""
        record = letter.record
        self._sink.produce(
            self._settings.topic("dead-letters"),
            record.key,
            dead_letters.value(letter, self._settings.input.max_message_bytes),
            partition=record.partition,
            headers=dead_letters.headers(letter),
        )

    def _registry(self, out: Outputs) -> None:
        # One partition, so one order; the embedded broker gives every topic several.
        topic = self._settings.topic("registry")
        for snapshot in out.snapshots:
            manifest = [("manifest", encode.manifest(snapshot))]
            self._sink.produce(topic, snapshot.key, snapshot.value, partition=0, headers=manifest)
        for activation in out.activations:
            self._sink.produce(topic, activation.key, activation.value, partition=0)
        for key, value, about in out.registry:
            self._sink.produce(topic, key, value, partition=0, headers=[("manifest", about)])
        for in_force in out.deployed[-1:]:
            value = orjson.dumps(in_force.record(self._model_version))
            self._sink.produce(topic, DEPLOYED, value, partition=0)

    def _events(self, events: list[Event]) -> None:
        for event in events:
            with self._stage("encode"):
                value = encode.event(event)
            self._produce("events", [(self._settings.application_id, value)])
            about = event["event"]
            if about["kind"] != "metric":
                say = log.warning if about["action"] in TROUBLE else log.info
                say(event["message"], action=about["action"])

    def _produce(
        self, name: str, records: Iterable[tuple[str | bytes, bytes | None]], partition: int = -1
    ) -> None:
        with self._stage("produce"):
            self._sink.produce_all(self._settings.topic(name), records, partition)
