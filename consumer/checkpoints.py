"""Writing and reading checkpoints: what a restart needs, committed with the offsets it belongs to.

A partition's checkpoint is one record, keyed by its number: small, because it keeps sums and
counts and no rows. What heals hold in tensors changes only with a heal: the registry topic has it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import orjson
import structlog

from consumer import evidence, restore, states
from consumer.caching import JoinCaches
from consumer.decode import AHEAD_MS
from consumer.evidence import Evidence
from consumer.heal import Moments
from consumer.join import Join
from consumer.kafka.reader import Reader
from consumer.kafka.sink import Sink
from consumer.model_directory import Model
from consumer.order import Lane
from consumer.partition import Restored
from consumer.pipeline import HEALER, Pipeline
from consumer.policy import Memories, MonitorBatch, Policy
from consumer.registry import MOMENTS, REQUESTS, InForce, Place
from consumer.restore import Checkpoint, RegistryTopic
from consumer.settings import Settings

log = structlog.get_logger()


class Checkpoints:
    """Writes what has changed since the last commit, and restores what was written."""

    def __init__(self, settings: Settings, model: Model, sink: Sink) -> None:
        self._settings = settings
        self._model = model
        self._sink = sink
        self._caches = JoinCaches(settings, model)
        self._written: dict[int, bytes] = {}
        self._moments: Moments | None = None
        self._requests: tuple[Evidence, ...] = ()

    def write(
        self, pipeline: Pipeline, lanes: Mapping[int, Lane[Any]], positions: Mapping[int, Any]
    ) -> None:
        """Add to the transaction. `positions`: by partition, then by topic."""
        base = self._model.manifest.base_sha256
        for number, lane in lanes.items():
            healing, head = None, None
            if number == HEALER:
                healing, head = pipeline.healing.checkpoint(), pipeline.head
            found = Checkpoint(
                positions[number], lane.checkpoint(), pipeline.checkpoint(number), healing, head
            ).to_bytes(base)
            if found != self._written.get(number):
                self._written[number] = found
                topic = self._settings.topic("checkpoints")
                self._sink.produce(topic, str(number), found, partition=number)
        self._of_heals(pipeline.healing)

    def cache(self, joins: Mapping[int, Join]) -> None:
        """Right after a commit: copy the joins to the disk where it is time for it."""
        if self._caches.due:
            self._caches.write(joins, wait=False)

    def forget(self, joins: Mapping[int, Join]) -> None:
        """Right after a commit: these partitions may come back, but are another replica's now."""
        self._caches.write(joins, wait=True)
        for number in joins:
            self._written.pop(number, None)

    def _of_heals(self, healing: Policy) -> None:
        if healing.moments is not self._moments:
            self._moments = healing.moments
            self._registry(MOMENTS, states.to_bytes(self._moments) if self._moments else None)
        if healing.open_requests != self._requests:
            self._requests = healing.open_requests
            self._registry(REQUESTS, evidence.to_bytes(self._requests) if self._requests else None)

    def _registry(self, key: str, value: bytes | None) -> None:
        manifest = {"base_sha256": self._model.manifest.base_sha256}
        if value is not None:
            manifest["sha256"] = states.sha256(value)
        headers = [("manifest", orjson.dumps(manifest))]
        self._sink.produce(
            self._settings.topic("registry"), key, value, partition=0, headers=headers
        )

    # --- Back ---

    def read(
        self, reader: Reader, number: int, committed: Mapping[str, int]
    ) -> tuple[Checkpoint | None, dict[str, int]]:
        """The checkpoint of a partition, and the offsets to begin with (absent: the beginning).

        `committed`: what the group has committed, by topic.
        """
        found = restore.checkpoint(reader, self._settings, self._model, number)
        if found is None:
            return None, dict(committed)
        topic = self._settings.input.transactions.topic
        if self._settings.delivery == "at_least_once":
            # Offsets are committed after the checkpoint: a crash in between leaves them behind.
            return found, {**committed, **found.positions}
        position = found.positions.get(topic, 0)  # absent: only labels have come yet
        if committed.get(topic, position) < position:
            log.warning(
                "the group's offsets were set back by hand: monitors and counts begin anew, rows "
                "before them still wait for their labels",
                partition=number,
                committed=committed[topic],
                checkpoint=position,
            )
            join = {"join": found.pipeline["join"]}
            return Checkpoint(dict(committed), {}, join, found.orders()), dict(committed)
        # The broker forgets offsets of labels after a week of silence; we do not.
        return found, {**found.positions, **committed}

    def restored(
        self,
        reader: Reader,
        number: int,
        found: Checkpoint,
        registry: RegistryTopic,
    ) -> Restored:
        """What the pipeline needs to go on from a checkpoint."""
        state = found.pipeline
        record = state.get("active")
        active = None
        if record is not None:
            snapshot = registry.snapshots.get(record["version"])
            if snapshot is None:
                every = restore.snapshots(self._settings, self._model)
                snapshot = every.get(record["version"])
            if snapshot is not None:
                active = InForce.of(record, snapshot)
        settings, features = self._settings, self._model.features
        position = found.positions.get(settings.input.transactions.topic, 0)
        count = state.get("labelled_rows", 0)
        remembered, unweighed = state.get("remembered", (0, 0))
        rows = None
        if state.get("rows"):
            newest_ms = state["join"]["clock"]
            rows = restore.transactions(
                reader, settings, features, number, state["rows_from"], position - 1, newest_ms
            )
        cached, start = self._caches.read(reader, number)
        return Restored(
            state,
            position,
            active,
            rows,
            restore.labelled(reader, settings, features, number, count),
            restore.labelled(reader, settings, features, number, remembered, corrected=True),
            unweighed,
            cached,
            restore.changelog(reader, settings, number, start),
        )

    def take_over(
        self, reader: Reader, healing: Policy, found: Checkpoint | None, registry: RegistryTopic
    ) -> None:
        """Heal here from now on, from where the healer before us was."""
        state = found.healing if found is not None else None
        batches = [self._batch(reader, *where) for where in healing.recent(state)]
        healing.take_over(
            state,
            Memories(
                registry.moments,
                registry.open_requests,
                registry.regimes,
                registry.snapshots,
                [batch for batch in batches if batch is not None],
            ),
        )
        self._moments, self._requests = healing.moments, healing.open_requests

    def _batch(self, reader: Reader, number: int, first: int, last: int) -> MonitorBatch | None:
        # Of a partition whose clock we may not know.
        newest_ms = time.time_ns() // 1_000_000 + AHEAD_MS
        found = restore.transactions(
            reader, self._settings, self._model.features, number, first, last, newest_ms
        )
        if found is None:
            return None
        times, offset = found.event_time, found.offset
        topic = self._settings.input.transactions.topic
        place = Place(topic, number, int(offset[-1]), int(times[-1]))
        return MonitorBatch(found.x, int(offset[0]), int(times[0]), place)
