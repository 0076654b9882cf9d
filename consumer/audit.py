"""Can every published score be made again from its transaction and the registry?

A score names its transaction's offset and the adapter state that made it. Both are fetched, and the
score is computed once more: by more than `TOLERANCE` it may not differ (the last bits of a float
depend on how many rows are scored together).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import orjson

from consumer import restore
from consumer.columns import Float32
from consumer.decode import WHENEVER_MS, TransactionDecoder
from consumer.errors import DataError
from consumer.kafka import topics
from consumer.kafka.reader import read_all
from consumer.kafka.record import Record
from consumer.model_directory import Model
from consumer.registry import InForce, Snapshot
from consumer.restore import Activations
from consumer.score import Scorer
from consumer.settings import Settings

TOLERANCE = 1e-6
# Both topics are read side by side in steps of so many records, so that what waits for its other
# half is their lag behind each other and not a topic.
STEP = 10_000

Place = tuple[int, int]  # partition, offset


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which scores to check; None leaves a side open."""

    from_ms: int | None = None  # event time, inclusive
    to_ms: int | None = None  # event time, exclusive
    transaction_id: str | None = None

    def wants(self, score: Mapping[str, Any]) -> bool:
        """Is this one among them?"""
        time_ms = score["event_time"]
        return (
            (self.from_ms is None or time_ms >= self.from_ms)
            and (self.to_ms is None or time_ms < self.to_ms)
            and self.transaction_id in (None, score["transaction_id"])
        )


@dataclass(slots=True)
class Audit:
    """What was found."""

    checked: int = 0
    expired: int = 0  # older than `audit.horizon_days`: what they were made with is gone
    largest_difference: float = 0.0
    unexplained: list[str] = field(default_factory=list)


def audit(settings: Settings, model: Model, wanted: Wanted) -> Audit:
    """Check the scores of an application.

    Raises: KafkaUnavailableError where a topic cannot be read; DataError where all scores are of
    another topic's transactions, or of another model.
    """
    found = Audit()
    told: dict[str, set[str]] = {"topic": set(), "model_version": set()}
    scores_left = read_all(settings.kafka, topics.written(settings, "scores"))
    in_force = _InForce(restore.snapshots(settings, model), restore.activations(settings))
    scorer = Scorer(model)
    source = settings.input.transactions
    decode = TransactionDecoder(source, model.features, settings.input.max_message_bytes)
    transactions_left = read_all(settings.kafka, source.topic)
    waiting: dict[Place, dict[str, Any]] = {}
    rows: dict[Place, Float32] = {}
    last: dict[int, int] = {}  # offset of the last score, by partition
    while True:
        scored = list(islice(scores_left, STEP))
        sent = list(islice(transactions_left, STEP))
        if not scored and not sent:
            break
        for record in scored:
            score = orjson.loads(record.value or b"{}")
            place = (score["partition"], score["offset"])
            for name, values in told.items():
                values.add(score[name])
            if score["topic"] != source.topic:
                found.unexplained.append(f"{_name(score)}: of topic {score['topic']!r}")
            elif place[1] <= last.get(place[0], -1):
                found.unexplained.append(
                    f"{_name(score)}: a second score of its record, or a late one"
                )
            else:
                last[place[0]] = place[1]
                waiting[place] = score
        rows.update(_decoded(decode, sent))
        pairs = [(waiting.pop(place), rows.pop(place)) for place in list(waiting) if place in rows]
        wanted_pairs = [pair for pair in pairs if wanted.wants(pair[0])]
        _check(found, scorer, in_force, model, wanted_pairs)
    for name, given, flag in (
        ("topic", source.topic, "--transactions-topic"),
        ("model_version", model.manifest.model_version, "--model"),
    ):
        if told[name] and given not in told[name]:
            raise DataError(
                f"{topics.written(settings, 'scores')}: every score is of {name} "
                f"{' or '.join(sorted(told[name]))}, not {given}. Name that: {flag}"
            )
    for score in filter(wanted.wants, waiting.values()):
        found.unexplained.append(f"{_name(score)}: no readable transaction at its offset")
    return found


class _InForce:
    """What each score was made with, by its place."""

    def __init__(
        self,
        snapshots: Mapping[int, Snapshot],
        activations: Mapping[int, Activations],
    ) -> None:
        self._snapshots = snapshots
        self._activations = activations
        self._made: dict[tuple[int, int], InForce] = {}

    def expired(self, score: Mapping[str, Any]) -> bool:
        """Has the registry forgotten by design what it was made with?"""
        known = self._activations.get(score["partition"])
        return known is not None and score["offset"] < known.expired

    def of(self, score: Mapping[str, Any]) -> tuple[tuple[int, int], InForce] | None:
        """And a name of it that equal ones share; None where the registry does not know."""
        known = self._activations.get(score["partition"], Activations())
        at, records = bisect_right(known.offsets, score["offset"]) - 1, known.records
        if at < 0 or records[at]["version"] != score["adapter_version"]:
            return None
        name = (score["partition"], at)
        if name not in self._made:
            snapshot = self._snapshots.get(score["adapter_version"])
            if snapshot is None:
                return None
            self._made[name] = InForce.of(records[at], snapshot)
        return name, self._made[name]


def _check(
    found: Audit,
    scorer: Scorer,
    in_force: _InForce,
    model: Model,
    pairs: list[tuple[dict[str, Any], Float32]],
) -> None:
    alike: dict[tuple[int, int], list[tuple[dict[str, Any], Float32]]] = defaultdict(list)
    for score, x in pairs:
        if in_force.expired(score):
            found.expired += 1
            continue
        made_with = in_force.of(score)
        if made_with is None or score["model_version"] != model.manifest.model_version:
            found.unexplained.append(
                f"{_name(score)}: adapter v{score['adapter_version']} of model "
                f"{score['model_version']} is not in the registry as in force there under this "
                "model"
            )
        else:
            alike[made_with[0]].append((score, x))
    for group in alike.values():
        made_with = in_force.of(group[0][0])
        assert made_with is not None
        version = made_with[1].version
        again, shadow_again = scorer(np.stack([x for _, x in group]), made_with[1])
        found.checked += len(group)
        for (score, _), one, shadow in zip(
            group, again.tolist(), shadow_again.tolist(), strict=True
        ):
            difference = max(abs(score["score"] - one), abs(score["shadow_score"] - shadow))
            found.largest_difference = max(found.largest_difference, difference)
            if difference > TOLERANCE:
                found.unexplained.append(
                    f"{_name(score)}: published {score['score']:.8f} (frozen "
                    f"{score['shadow_score']:.8f}), v{version} gives {one:.8f} ({shadow:.8f})"
                )


def _decoded(decode: TransactionDecoder, records: list[Record]) -> Iterator[tuple[Place, Float32]]:
    by_partition: dict[int, list[Record]] = defaultdict(list)
    for record in records:
        by_partition[record.partition].append(record)
    for partition, some in by_partition.items():
        values, offsets = [record.value for record in some], [record.offset for record in some]
        rows, _ = decode(partition, values, offsets, WHENEVER_MS)
        for offset, x in zip(rows.offset.tolist(), rows.x, strict=True):
            yield (partition, offset), x


def _name(score: Mapping[str, Any]) -> str:
    place = f"{score['topic']}[{score['partition']}] offset {score['offset']}"
    return f"{score['transaction_id']} ({place})"
