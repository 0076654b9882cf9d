"""Adapter states by version: a snapshot before and after every heal, and which is in force where.

The registry topic is the store; this holds only what may yet be needed of it: the next number, and
the post-heal state with the highest F1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from consumer import states
from consumer.errors import RegistryError
from consumer.model import AdapterState

# A candidate waits for approval; it was never in force.
Kind = Literal["base", "pre-heal", "post-heal", "pool", "candidate"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the stream something happened."""

    topic: str
    partition: int
    offset: int
    time_ms: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One adapter state, as it is published: `value` under the key `snapshot/<version>`."""

    version: int
    kind: Kind
    adapter: AdapterState = field(repr=False)
    value: bytes = field(repr=False)
    manifest: Mapping[str, Any] = field(repr=False)

    @property
    def key(self) -> str:
        """The record's key."""
        return f"snapshot/{self.version}"

    @property
    def f1(self) -> float:
        """F1 on the batch it was healed on (in-sample), -1 where there was none."""
        figures = self.manifest["figures"]
        return -1.0 if figures is None else float(figures["f1"])


@dataclass(frozen=True, slots=True)
class InForce:
    """What scores are made with: a snapshot, and the weights of the experts in it.

    Without weights the snapshot is an adapter state, and it alone decides.
    """

    snapshot: Snapshot = field(compare=False)
    weights: Mapping[str, float] = field(default_factory=dict)
    provisional: bool = False  # no label has confirmed it
    version: int = -1

    def __post_init__(self) -> None:
        object.__setattr__(self, "version", self.snapshot.version)

    def record(self, model_version: str) -> dict[str, Any]:
        """As it is published, but for the numbers."""
        return {
            "version": self.version,
            "model_version": model_version,
            "provisional": self.provisional,
            "weights": dict(self.weights),
        }

    @staticmethod
    def of(record: Mapping[str, Any], snapshot: Snapshot) -> InForce:
        """From a record, whose version is the snapshot's."""
        return InForce(snapshot, dict(record.get("weights") or {}), bool(record["provisional"]))


@dataclass(frozen=True, slots=True)
class Activation:
    """From `place.offset` on, this is in force on that partition."""

    place: Place
    in_force: InForce
    model_version: str

    @property
    def version(self) -> int:
        """Of the snapshot."""
        return self.in_force.version

    @property
    def key(self) -> str:
        """The record's key."""
        return f"active/{self.place.topic}/{self.place.partition}/{self.place.offset}"

    @property
    def value(self) -> bytes:
        """The record's value."""
        return orjson.dumps(self.in_force.record(self.model_version))


DEPLOYED = "deployed"  # key of the record that names the version which new batches begin with
MOMENTS = "optimiser"  # of the optimiser that continues them: what every heal begins with
REGIME = "regime/"  # and its number: a regime that may come back, and what was in force in it
THRESHOLDS = "thresholds"  # of the decision, where the controller moves them
REQUESTS = "requests"  # of the heals that were open at the last commit


class Registry:
    """Numbers and keeps snapshots of one base model."""

    def __init__(self, model_version: str, base_sha256: str, max_bytes: int | None = None) -> None:
        self._max_bytes = max_bytes
        self._model_version = model_version
        self._base_sha256 = base_sha256
        self._next_version = 1
        self.best: Snapshot | None = None  # post-heal, highest F1, the earlier one at a tie

    def snapshot(
        self,
        kind: Kind,
        adapter: AdapterState,
        *,
        parent: int | None,
        reason: str,
        place: Place | None = None,
        batch: int | None = None,
        figures: Mapping[str, Any] | None = None,
    ) -> Snapshot:
        """Number a state and keep it where it may be rolled back to.

        Raises: RegistryError where it is larger than the topic takes.
        """
        value = states.to_bytes(adapter)
        if self._max_bytes is not None and len(value) > self._max_bytes:
            raise RegistryError(
                f"a snapshot of this model's adapter is {len(value):,} bytes, the registry topic "
                f"takes {self._max_bytes:,}: raise the topic's max.message.bytes"
            )
        version = self._next_version
        self._next_version += 1
        snapshot = Snapshot(
            version,
            kind,
            adapter,
            value,
            {
                "version": version,
                "kind": kind,
                "parent": parent,
                "sha256": states.sha256(value),
                "base_sha256": self._base_sha256,
                "model_version": self._model_version,
                "reason": reason,
                "topic": place.topic if place else None,
                "partition": place.partition if place else None,
                "offset": place.offset if place else None,
                "batch": batch,
                "taken_at": place.time_ms if place else None,
                "figures": figures,
                "bytes": len(value),
            },
        )
        self._keep(snapshot)
        return snapshot

    def restore(self, key: str, value: bytes, manifest: Mapping[str, Any]) -> Snapshot | None:
        """Take a published snapshot back; None where it belongs to another base model.

        Raises: RegistryError where the bytes are not what the manifest says.
        """
        try:
            version, base, kind = (
                int(manifest["version"]),
                manifest["base_sha256"],
                manifest["kind"],
            )
            sha256 = str(manifest["sha256"])
        except (KeyError, TypeError, ValueError) as error:
            raise RegistryError(f"registry record {key}: its manifest lacks {error}") from error
        # A version is used once, whatever model it belonged to: a score names it.
        self._next_version = max(self._next_version, version + 1)
        if base != self._base_sha256:
            return None
        if key != f"snapshot/{version}":
            raise RegistryError(f"registry record {key}: its manifest says version {version}")
        adapter = states.from_bytes(value, sha256, f"registry record {key}")
        snapshot = Snapshot(version, kind, adapter, value, manifest)
        self._keep(snapshot)
        return snapshot

    def _keep(self, snapshot: Snapshot) -> None:
        if snapshot.kind == "post-heal" and (self.best is None or snapshot.f1 > self.best.f1):
            self.best = snapshot
