"""What a restart takes back from our own topics: no disk is asked, and nothing else is needed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import orjson
import structlog
from confluent_kafka import Message

from consumer import decision, evidence, failpoints, states
from consumer.chain import Head
from consumer.columns import Labelled, Transactions
from consumer.decode import AHEAD_MS, TransactionDecoder
from consumer.errors import RegistryError
from consumer.evidence import Evidence
from consumer.expiry import ACTIVE, EXPIRED, Expiry
from consumer.heal import Moments
from consumer.kafka.reader import Follower, Reader, read_all
from consumer.kafka.record import Record
from consumer.model_directory import Model
from consumer.registry import (
    DEPLOYED,
    MOMENTS,
    REGIME,
    REQUESTS,
    THRESHOLDS,
    InForce,
    Registry,
    Snapshot,
)
from consumer.segments import Segments
from consumer.settings import DAY_MS, Settings

log = structlog.get_logger()


# Snapshots that are kept beside the deployed and the best one: a batch that is being filled was
# begun a few heals ago at most.
NEWEST = 16
# Of a join's changelog: a record holds up to a quarter of a megabyte of rows.
CHANGES_A_CALL = 200


class RegistryTopic:
    """The registry topic, read to its end at start and followed afterwards."""

    def __init__(
        self, settings: Settings, model: Model, max_snapshot_bytes: int | None = None
    ) -> None:
        """`max_snapshot_bytes`: what the topic takes; None for who only reads."""
        manifest = model.manifest
        self._settings, self._model = settings, model
        self._base_sha256 = manifest.base_sha256
        self.registry = Registry(manifest.model_version, manifest.base_sha256, max_snapshot_bytes)
        self.snapshots: dict[int, Snapshot] = {}
        self.expiry = Expiry(round(settings.audit.horizon_days * DAY_MS))
        self.moments: Moments | None = None
        self.open_requests: Sequence[Evidence] = ()
        self.thresholds: Mapping[str, float] | None = None  # that stand, see `governor`
        self.regimes: dict[int, tuple[bytes, Mapping[str, Any]]] = {}  # value and manifest
        self._deployed: Mapping[str, Any] | None = None  # the record
        self._sought = -1  # a version that is not to be found
        self._follower = Follower(settings.kafka, settings.topic("registry"))
        self._foreign = 0
        try:
            self._read(self._follower.catch_up())
        except BaseException:
            self.close()
            raise

    @property
    def deployed(self) -> InForce | None:
        """What was deployed last; None on a new registry."""
        if not self.snapshots:
            return None
        if self._deployed is None:
            # The base snapshot: nothing was healed yet.
            return InForce(self.snapshots[min(self.snapshots)])
        good = [
            version
            for version, snapshot in self.snapshots.items()
            if version <= self._deployed["version"] and snapshot.kind != "candidate"
        ]
        snapshot = self.snapshots[max(good, default=min(self.snapshots))]
        return InForce.of(self._deployed, snapshot)

    def catch_up(self) -> None:
        """Read to the end of now."""
        self._read(self._follower.catch_up())
        self._remember()

    def follow(self) -> InForce | None:
        """What was deployed since, by whichever replica; None where nothing was."""
        before = self._deployed
        added = self._follower.added()
        if added:
            self._read(added)
            self._remember()
            self._forget()
        return self.deployed if self._deployed != before else None

    def close(self) -> None:
        """Stop following."""
        self._follower.close()

    def _read(self, records: Sequence[Record]) -> None:
        foreign = self._foreign
        for record in records:
            self._take(record)
        if self._foreign > foreign:
            count = self._foreign - foreign
            log.warning("registry snapshots of another base model passed over", count=count)

    def _take(self, record: Record) -> None:
        """A record that is not what it says is passed over and said; the last good one stays."""
        key = (record.key or b"").decode(errors="replace")
        try:
            if key.startswith("snapshot/") and record.value is not None:
                snapshot = self.registry.restore(key, record.value, manifest_of(record, key))
                if snapshot is None:
                    self._foreign += 1
                else:
                    self.snapshots[snapshot.version] = snapshot
            elif key.startswith(ACTIVE):
                self.expiry.saw(key, record.value, record.timestamp_ms)
            elif key == DEPLOYED and record.value is not None:
                self._deployed = self._readable(record.value)
            elif key.startswith(REGIME):
                number = int(key.removeprefix(REGIME))
                self.regimes.pop(number, None)
                if (regime := self._ours(record, key)) is not None:
                    self.regimes[number] = regime[0], manifest_of(record, key)
            elif key == MOMENTS:
                self.moments = None
                if (value := self._ours(record, key)) is not None:
                    self.moments = states.from_bytes(*value, f"registry record {key}")
            elif key == THRESHOLDS:
                self.thresholds = None
                if (value := self._ours(record, key)) is not None:
                    if states.sha256(value[0]) != value[1]:
                        raise RegistryError(f"registry record {key} is not what its manifest says")
                    self.thresholds = orjson.loads(value[0])
            elif key == REQUESTS:
                self.open_requests = ()
                if (value := self._ours(record, key)) is not None:
                    self.open_requests = evidence.from_bytes(value[0])
        except (RegistryError, KeyError) as error:
            log.error(str(error))

    def _remember(self) -> None:
        """A rollback or a pin may name a snapshot that was forgotten long ago: read it again."""
        wanted = -1 if self._deployed is None else int(self._deployed["version"])
        if wanted in (-1, self._sought) or wanted in self.snapshots:
            return
        found = snapshots(self._settings, self._model).get(wanted)
        if found is not None:
            self.snapshots[wanted] = found
        else:
            self._sought = wanted  # another model's, or not what it says

    def _forget(self) -> None:
        """Of thousands of heals only those stay that may be asked for."""
        best = self.registry.best
        asked = {best.version} if best is not None else set()
        if self._deployed is not None:
            asked.add(int(self._deployed["version"]))
        asked |= {int(manifest["version"]) for _, manifest in self.regimes.values()}
        self.snapshots = kept(self.snapshots, asked)

    def _ours(self, record: Record, key: str) -> tuple[bytes, str] | None:
        """Value and hash; None for a tombstone, or where it belongs to another base model."""
        if record.value is None:
            return None
        manifest = manifest_of(record, key)
        if manifest["base_sha256"] != self._base_sha256:
            return None
        return record.value, str(manifest["sha256"])

    def _readable(self, value: bytes) -> Mapping[str, Any]:
        """The record, or where it is not readable one that names the last good snapshot."""
        try:
            record: dict[str, Any] = orjson.loads(value)
            return {**record, "version": int(record["version"])}
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            log.error(f"registry record {DEPLOYED} is not readable; the last good one is taken")
            before = self._deployed or {"provisional": False}
            return {**before, "version": max(self.snapshots, default=0)}


def kept(snapshots: Mapping[int, Snapshot], asked: Collection[int]) -> dict[int, Snapshot]:
    """Those that may still be asked for: beside `asked` the newest, and what may be approved."""
    # Of candidates one waits at most: no other heal begins meanwhile.
    candidates = [version for version, each in snapshots.items() if each.kind == "candidate"]
    chosen = {*asked, *sorted(snapshots)[-NEWEST:], *sorted(candidates)[-1:]}
    return {version: each for version, each in snapshots.items() if version in chosen}


def from_topic(settings: Settings, model: Model) -> tuple[Registry, InForce | None]:
    """The registry as it was left, and what was deployed last; None on a new registry."""
    topic = RegistryTopic(settings, model)
    topic.close()
    return topic.registry, topic.deployed


def snapshots(settings: Settings, model: Model) -> dict[int, Snapshot]:
    """Every good snapshot of this base model on the registry topic, by version."""
    topic = RegistryTopic(settings, model)
    topic.close()
    return topic.snapshots


def last_in_force(registry: Iterable[Record], snapshot: Snapshot) -> InForce | None:
    """A snapshot with the weights it last had; None where it was never in force."""
    found = None
    for record in registry:
        key = (record.key or b"").decode(errors="replace")
        if record.value is not None and (key == DEPLOYED or key.startswith("active/")):
            told = orjson.loads(record.value)
            if told.get("version") == snapshot.version and told.get("weights"):
                found = InForce.of(told, snapshot)
    return found


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A partition as its last commit left it: where, and in what state."""

    positions: Mapping[str, int]  # of the next record to process, by topic
    lane: Mapping[str, Any]
    pipeline: Mapping[str, Any]
    healing: Mapping[str, Any] | None  # partition 0 alone
    head: Head | None = None  # of the chain of decisions, partition 0 alone

    def orders(self) -> dict[str, Any] | None:
        """Of `healing`, what holds whatever is healed: which orders were read, and a pause."""
        if self.healing is None:
            return None
        control = {**self.healing["control"], "pinned": False, "waiting": [], "permitted": {}}
        return {"control": control}

    def to_bytes(self, base_sha256: str) -> bytes:
        """Value of the record; its key is the partition's number."""
        return orjson.dumps(
            {
                "format": FORMAT,
                "base_sha256": base_sha256,
                "positions": self.positions,
                "lane": self.lane,
                "pipeline": self.pipeline,
                "healing": self.healing,
                "head": self.head,
            }
        )


# Of checkpoints, and of what experts keep in the registry: another shape is another format.
FORMAT = 7


def checkpoint(reader: Reader, settings: Settings, model: Model, number: int) -> Checkpoint | None:
    """The last checkpoint of a partition; None where there is none of this model."""
    failpoints.reach("restore")
    topic = settings.topic("checkpoints")
    found = reader.last(topic, number, 1)
    if not found:
        return None
    value = orjson.loads(found[0].value() or b"{}")
    if value.get("format") != FORMAT:
        raise RegistryError(
            f"{topic}[{number}]: a checkpoint of format {value.get('format')!r}, this program "
            f"reads {FORMAT}. Run the version that wrote it, or begin anew as another "
            "application_id"
        )
    last = Checkpoint(value["positions"], value["lane"], value["pipeline"], value["healing"])
    if value["base_sha256"] == model.manifest.base_sha256:
        return last
    log.warning(
        "the last checkpoint is of another model: monitors and counts begin anew, rows still wait "
        "for their labels",
        partition=number,
    )
    return replace(last, pipeline={"join": last.pipeline["join"]}, healing=last.orders())


def head(reader: Reader, settings: Settings, number: int) -> Head:
    """Where the chain of decisions stands, by the healer's last checkpoint.

    Whatever model that is of, and wherever offsets were set to since: there is one chain.
    """
    found = reader.last(settings.topic("checkpoints"), number, 1)
    value = orjson.loads(found[0].value() or b"{}") if found else {}
    return Head(**(value.get("head") or {}))


def labelled(
    reader: Reader,
    settings: Settings,
    features: Sequence[str],
    number: int,
    count: int,
    *,
    corrected: bool = False,
) -> Labelled | None:
    """The last `count` joined rows of a partition; `corrected`: with the labels of now."""
    if not count:
        return None
    ask = count
    while True:
        found = reader.last(settings.topic("labelled"), number, ask)
        rows = [orjson.loads(message.value() or b"{}") for message in found]
        # By offset: ids may be used again.
        later = {row["offset"]: row["is_fraud"] for row in rows if row["correction"]}
        rows = [row for row in rows if not row["correction"]]
        if len(rows) >= count or len(found) < ask:
            break
        ask *= 2
    if len(rows) < count:
        log.warning(
            "labelled rows of a batch in progress are gone from their topic",
            partition=number,
            wanted=count,
            found=len(rows),
        )
    if corrected:
        rows = [{**row, "is_fraud": later.get(row["offset"], row["is_fraud"])} for row in rows]
    if not rows:
        return None
    return _labelled(number, rows[-count:], features, Segments(settings.segments, features))


def transactions(
    reader: Reader,
    settings: Settings,
    features: Sequence[str],
    number: int,
    first: int,
    last: int,
    newest_ms: int,
) -> Transactions | None:
    """What can be read of a partition's transactions from offset `first` to `last`, both too.

    `newest_ms`: what is later was no row, its time was not plausible. Their topic is another
    team's and may keep them for less long: None where none is left.
    """
    source = settings.input.transactions
    decode = TransactionDecoder(source, features, settings.input.max_message_bytes)
    found: list[Message] = []
    for messages in reader.chunks(source.topic, number, first):
        found += [message for message in messages if (message.offset() or 0) <= last]
        if (messages[-1].offset() or 0) >= last:
            break
    if not found:
        return None
    values = [_bytes(message.value()) for message in found]
    offsets = [message.offset() or 0 for message in found]
    rows, _ = decode(number, values, offsets, newest_ms - AHEAD_MS)
    return rows if len(rows) else None


@dataclass(frozen=True, slots=True)
class Activations:
    """Of a partition: offsets in order, and the record of each."""

    offsets: Sequence[int] = ()
    records: Sequence[Mapping[str, Any]] = ()
    expired: int = 0  # before which offset they were forgotten


def activations(settings: Settings) -> dict[int, Activations]:
    """What was put in force where, by partition."""
    topic = settings.input.transactions.topic
    found: dict[int, dict[int, Mapping[str, Any]]] = {}
    expired: dict[int, int] = {}
    for record in read_all(settings.kafka, settings.topic("registry")):
        key = (record.key or b"").decode(errors="replace")
        if key.startswith(f"{ACTIVE}{topic}/"):
            number, offset = map(int, key.removeprefix(f"{ACTIVE}{topic}/").split("/"))
            of = found.setdefault(number, {})
            of.pop(offset, None)
            if record.value is not None:
                of[offset] = orjson.loads(record.value)
        elif key.startswith(f"{EXPIRED}{topic}/") and record.value is not None:
            number = int(key.removeprefix(f"{EXPIRED}{topic}/"))
            expired[number] = int(orjson.loads(record.value)["before"])
    return {
        n: Activations(sorted(of), [of[at] for at in sorted(of)], expired.get(n, 0))
        for n, of in found.items()
    }


def changelog(
    reader: Reader, settings: Settings, number: int, start: int = 0
) -> Iterator[tuple[list[bytes], list[bytes | None]]]:
    """Keys and values of what the join of a partition wrote from offset `start` on."""
    for messages in reader.chunks(settings.topic("pending"), number, start, CHANGES_A_CALL):
        yield [_bytes(m.key()) or b"" for m in messages], [_bytes(m.value()) for m in messages]


def _bytes(value: bytes | str | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def _labelled(
    number: int, rows: list[dict[str, Any]], features: Sequence[str], segments: Segments
) -> Labelled:
    def column(name: str, of: type) -> Any:
        return np.array([row[name] for row in rows], of)

    decisions = np.array([decision.published(row) for row in rows], np.int8)

    return Labelled(
        partition=number,
        ids=[row["transaction_id"] for row in rows],
        event_time=column("event_time", np.int64),
        labelled_at=column("labelled_at", np.int64),
        is_fraud=column("is_fraud", np.int8),
        source=[row["source"] for row in rows],
        x=np.array([[row["features"][name] for name in features] for row in rows], np.float32),
        score=column("score", np.float32),
        shadow=column("shadow_score", np.float32),
        threshold=column("threshold", np.float64),
        decision=decisions[:, 0],
        shadow_decision=decisions[:, 1],
        adapter_version=column("adapter_version", np.int64),
        offset=column("offset", np.int64),
        weight=column("weight", np.float64),
        groups=segments.coded([row.get("segments", ()) for row in rows]),
    )


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
