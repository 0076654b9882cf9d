"""What lies on the registry topic, seen without a model: states, where each was active, defects.

A restart passes over what is not good; here it is named, because a person wants to know.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from torch import Tensor

from consumer import restore, states
from consumer.errors import RegistryError
from consumer.expiry import EXPIRED
from consumer.kafka import topics
from consumer.kafka.reader import read_all
from consumer.kafka.record import Record
from consumer.registry import DEPLOYED, MOMENTS, REGIME, REQUESTS, THRESHOLDS
from consumer.settings import Settings


@dataclass(frozen=True, slots=True)
class Entry:
    """One snapshot as published; `problem` says why its bytes are refused, None where they hold."""

    version: int
    manifest: Mapping[str, Any]
    value: bytes = field(repr=False)
    problem: str | None

    def tensors(self) -> dict[str, Tensor]:
        """The adapter state.

        Raises: RegistryError where the bytes are not what the manifest says.
        """
        if self.problem is not None:
            raise RegistryError(self.problem)
        what = f"registry record snapshot/{self.version}"
        return states.from_bytes(self.value, self.manifest["sha256"], what)


@dataclass(frozen=True, slots=True)
class Span:
    """A version is in force on a partition from offset `start` up to `stop` (None: until now)."""

    version: int
    topic: str
    partition: int
    start: int
    stop: int | None


@dataclass(frozen=True, slots=True)
class View:
    """The registry topic, read once."""

    topic: str
    entries: Mapping[int, Entry]  # by version, ascending
    spans: Sequence[Span]
    deployed: int | None  # the version that new batches begin with
    warnings: Sequence[str]  # a line for each record that is corrupt or not ours

    def entry(self, version: int) -> Entry:
        """A version's snapshot.

        Raises: RegistryError where the topic holds none.
        """
        if version in self.entries:
            return self.entries[version]
        there = f"v{min(self.entries)} to v{max(self.entries)}" if self.entries else "no snapshot"
        raise RegistryError(
            f"no snapshot v{version} in topic {self.topic!r}: it holds {there}; "
            "see `python -m consumer registry list`"
        )

    def active(self, version: int) -> list[Span]:
        """Where a version is in force, or was."""
        return [span for span in self.spans if span.version == version]

    def base_of(self, entry: Entry) -> Entry | None:
        """The good snapshot of the adapter as trained, under the same backbone and head."""
        base = entry.manifest.get("base_sha256")
        for other in self.entries.values():
            of_it = other.manifest.get("base_sha256") == base
            if of_it and other.manifest.get("kind") == "base" and other.problem is None:
                return other
        return None


BESIDE = (MOMENTS, REQUESTS, THRESHOLDS, REGIME, EXPIRED)


def read(settings: Settings) -> View:
    """Read the registry topic of an application.

    Raises: KafkaUnavailableError where it cannot be read.
    """
    topic = topics.written(settings, "registry")
    return view(topic, read_all(settings.kafka, topic))


def view(topic: str, records: Iterable[Record]) -> View:
    """Make sense of the records of a registry topic, in their order."""
    entries: dict[int, Entry] = {}
    starts: dict[tuple[str, int], dict[int, int]] = defaultdict(dict)  # offset -> version
    deployed: int | None = None
    warnings: list[str] = []
    for record in records:
        where = f"{record.topic}[{record.partition}] offset {record.offset}"
        key = (record.key or b"").decode(errors="replace")
        if record.value is None:
            continue  # a tombstone: whoever wrote it wants the key forgotten
        try:
            if key.startswith("snapshot/"):
                entry = _entry(record, key, record.value)
                if entry.problem is not None:
                    warnings.append(f"{where}: {entry.problem}")
                if entry.problem is None or entry.version not in entries:
                    entries[entry.version] = entry
            elif key.startswith("active/"):
                source, partition, offset = _activation(key)
                starts[source, partition][offset] = _version(key, record.value)
            elif key == DEPLOYED:
                deployed = _version(key, record.value)
            # Those are for restarts and audits alone.
            elif key not in (MOMENTS, REQUESTS, THRESHOLDS) and not key.startswith(
                (REGIME, EXPIRED)
            ):
                warnings.append(f"{where}: key {key[:80]!r} is none of ours; it is passed over")
        except RegistryError as error:
            warnings.append(f"{where}: {error}")
    entries = dict(sorted(entries.items()))
    if deployed is None and entries:
        deployed = min(entries)  # nothing was healed yet
    warnings += _strangers(entries, deployed)
    return View(topic, entries, _spans(starts), deployed, warnings)


def _entry(record: Record, key: str, value: bytes) -> Entry:
    version = key.removeprefix("snapshot/")
    # 18 digits: what a JSON writer takes for a whole number.
    if not (version.isascii() and version.isdigit() and len(version) <= 18):
        raise RegistryError(f"registry record {key}: its key names no version; it is passed over")
    manifest = restore.manifest_of(record, key)
    if not isinstance(manifest, dict):
        raise RegistryError(f"registry record {key}: manifest is not a JSON object")
    return Entry(int(version), manifest, value, _problem(key, manifest, value))


def _problem(key: str, manifest: Mapping[str, Any], value: bytes) -> str | None:
    for name in ("kind", "base_sha256", "sha256"):
        if not isinstance(manifest.get(name), str):
            return f"registry record {key}: its manifest lacks {name!r}; it is refused"
    if key != f"snapshot/{manifest.get('version')}":
        return f"registry record {key}: its manifest says version {manifest.get('version')!r}"
    try:
        states.from_bytes(value, manifest["sha256"], f"registry record {key}")
    except RegistryError as error:
        return str(error)
    return None


def _activation(key: str) -> tuple[str, int, int]:
    try:
        _, topic, partition, offset = key.split("/")
        return topic, int(partition), int(offset)
    except ValueError:
        raise RegistryError(
            f"registry record {key}: expected active/TOPIC/PARTITION/OFFSET"
        ) from None


def _version(key: str, value: bytes) -> int:
    try:
        return int(orjson.loads(value)["version"])
    except (KeyError, TypeError, ValueError):
        raise RegistryError(f"registry record {key} names no version; it is passed over") from None


def _spans(starts: Mapping[tuple[str, int], Mapping[int, int]]) -> list[Span]:
    spans = []
    for (topic, partition), versions in sorted(starts.items()):
        offsets = sorted(versions)
        for start, stop in zip(offsets, [*offsets[1:], None], strict=True):
            spans.append(Span(versions[start], topic, partition, start, stop))
    return spans


def _strangers(entries: Mapping[int, Entry], deployed: int | None) -> list[str]:
    """Snapshots of another base model than the one that is deployed."""
    in_force = entries.get(-1 if deployed is None else deployed)
    if in_force is None:
        return (
            []
            if deployed is None
            else [f"v{deployed} is deployed, but its snapshot is not there or not readable"]
        )
    base = in_force.manifest.get("base_sha256")
    return [
        f"snapshot v{entry.version} belongs to another base model ({_short(of)}) than the deployed "
        f"v{deployed} ({_short(base)})"
        for entry in entries.values()
        if (of := entry.manifest.get("base_sha256")) != base
    ]


def _short(sha256: object) -> str:
    return str(sha256)[:12]
