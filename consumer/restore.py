"""What a restart takes back from the registry topic: the last adapter state in force."""

from __future__ import annotations

import orjson
import structlog

from consumer.errors import RegistryError
from consumer.kafka.reader import read_all
from consumer.kafka.record import Record
from consumer.model_directory import Model
from consumer.registry import DEPLOYED, Registry, Snapshot
from consumer.settings import Settings

log = structlog.get_logger()


def from_topic(settings: Settings, model: Model) -> tuple[Registry, Snapshot | None]:
    """The registry as it was left, and the snapshot deployed last; None on a new registry."""
    registry, found, deployed = _read(settings, model)
    if deployed is None and found:
        deployed = min(found)  # the base snapshot: nothing was healed yet
    return registry, None if deployed is None else found[deployed]


def snapshots(settings: Settings, model: Model) -> dict[int, Snapshot]:
    """Every good snapshot of this base model on the registry topic, by version."""
    return _read(settings, model)[1]


def _read(settings: Settings, model: Model) -> tuple[Registry, dict[int, Snapshot], int | None]:
    """A snapshot whose bytes do not match its manifest, or of another base model, is passed over
    and said; the last good one stays in force.
    """
    manifest = model.manifest
    registry = Registry(manifest.model_version, manifest.base_sha256)
    found: dict[int, Snapshot] = {}
    deployed: int | None = None
    foreign = 0
    for record in read_all(settings.kafka, settings.topic("registry")):
        key = (record.key or b"").decode(errors="replace")
        if key.startswith("snapshot/") and record.value is not None:
            try:
                snapshot = registry.restore(key, record.value, manifest_of(record, key))
            except RegistryError as error:
                log.error(str(error))
                continue
            if snapshot is None:
                foreign += 1
            else:
                found[snapshot.version] = snapshot
        elif key == DEPLOYED and record.value is not None:
            deployed = _deployed(record.value, found)
    if foreign:
        log.warning("registry snapshots of another base model passed over", count=foreign)
    return registry, found, deployed


def _deployed(value: bytes, found: dict[int, Snapshot]) -> int | None:
    """The version the record names, or where it is not good the last good one before it."""
    try:
        version = int(orjson.loads(value)["version"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        log.error(f"registry record {DEPLOYED} is not readable; the last good snapshot is taken")
        version = max(found, default=0)
    good = [v for v in found if v <= version]
    return max(good, default=None)


def manifest_of(record: Record, key: str) -> dict[str, object]:
    """The manifest of a snapshot's record, as it was published.

    Raises: RegistryError where there is none, or it is not JSON.
    """
    for name, value in record.headers:
        if name == "manifest" and value is not None:
            try:
                found: dict[str, object] = orjson.loads(value)
                return found
            except orjson.JSONDecodeError as error:
                raise RegistryError(f"registry record {key}: manifest is not JSON") from error
    raise RegistryError(f"registry record {key} has no manifest header; it is refused")
