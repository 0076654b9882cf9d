"""Replicas of one application under load, and what moves partitions back and forth between them."""

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from consumer import audit_events
from consumer.audit import Wanted, audit
from consumer.kafka.client import producer
from consumer.kafka.reader import Reader
from consumer.model_directory import Model
from consumer.pipeline import HEALER
from consumer.registry import DEPLOYED
from consumer.settings import Settings
from tests.conftest import CreateTopics, Names
from tests.integration import consuming, killing, outcomes

# Static membership: who is gone for good is missed after the session's time-out (10 s), and what a
# replica gets has to be restored; the rest is for two busy cores.
MOVED_WITHIN_S = 60.0
PARTITIONS = 4
# Drifted from the first row to the last: FIDI is in alarm whatever the last heal has taught the
# model (conflicts are not), so that each labelled batch of the healer's asks for a heal.
TABLE = consuming.rows(3_000, seed=31, shift=2.2)
# No heal is rolled back, so that the last one is what the other replica has to follow.
DEPLOYED_ALL = {"health__f1_drop": 1.0, "health__accuracy_drop": 1.0}
UNREADABLE_EVERY = 997
BEHIND_ROWS = 600  # labels


class Feed(threading.Thread):
    """Publishes at a pace until told to end, row by row over the partitions; labels come later.

    The rows are those of the table, over and over, under new ids.
    """

    def __init__(self, settings: Settings, rows_s: float) -> None:
        super().__init__(daemon=True)
        self._settings = settings
        self._rows_s = rows_s
        self._end = threading.Event()
        self._rows = 0
        self._out = producer(settings.kafka)

    def run(self) -> None:
        """Publish until the end is told, then the labels that are left."""
        began = time.monotonic()
        while not self._end.is_set():
            if (ahead_s := self._rows / self._rows_s - (time.monotonic() - began)) > 0.05:
                time.sleep(ahead_s)
            self._publish(self._settings.input.transactions.topic, self._rows)
            if self._rows >= BEHIND_ROWS:
                self._publish(self._settings.input.labels.topic, self._rows - BEHIND_ROWS)
            self._rows += 1
        for row in range(max(0, self._rows - BEHIND_ROWS), self._rows):
            self._publish(self._settings.input.labels.topic, row)
        assert self._out.flush(30) == 0

    def end(self) -> list[str]:
        """Publish no more; the ids of all transactions that can be read."""
        self._end.set()
        self.join()
        return [f"t-{number:06d}" for number in range(self._rows) if number % UNREADABLE_EVERY]

    def _publish(self, topic: str, number: int) -> None:
        of_transactions = topic == self._settings.input.transactions.topic
        make = consuming.transaction if of_transactions else consuming.label
        message = make(number, TABLE)
        value = orjson.dumps(message) if number % UNREADABLE_EVERY else b"not json"
        key = message["transaction_id"]
        self._out.produce(topic, value, key=key, partition=number % PARTITIONS)
        self._out.poll(0)


class Replica:
    """One process of the group; killed where a test leaves it running."""

    def __init__(self, settings: Settings, model: Path, folder: Path, *more: str) -> None:
        given = ("--instance-id", settings.instance_id, *more)
        self._arguments = killing.command(settings, model, *given)
        self._log = folder / f"replica-{settings.instance_id}"
        self._process: subprocess.Popen[bytes] | None = None
        self.name = settings.transactional_id

    def __enter__(self) -> "Replica":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def start(self) -> None:
        """Begin, or begin again."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._arguments, stderr=log)

    def stop(self) -> int:
        """SIGTERM; returns the status: 0 where it leaves in good order, 1 where that took too long.

        What a killed replica left open is waited for until that one is back.
        """
        assert self._process is not None
        self._process.terminate()
        code, said = self._process.wait(timeout=20), self._log.read_text()
        too_late = said.splitlines()[-1].startswith("error: no end within 10 s of the signal")
        assert code == (1 if too_late else 0), said[-4_000:]
        return code

    def kill(self) -> None:
        """SIGKILL, at work."""
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send it, to a process that is alive."""
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()[-4_000:]
        self._process.send_signal(number)

    def restart(self) -> None:
        """Killed, and there again before the group misses it."""
        self.kill()
        self.start()

    def said(self, action: str) -> list[dict[str, Any]]:
        """Log lines of an action, over all its lives."""
        lines = (line for line in self._log.read_bytes().splitlines() if line.startswith(b"{"))
        found = (orjson.loads(line) for line in lines if line.endswith(b"}"))
        return [line for line in found if line.get("action") == action]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two replicas of one application at work, and what feeds them."""

    settings: Settings
    model: Model
    one: Replica
    two: Replica
    feed: Feed

    def roles(self) -> tuple[Replica, Replica, list[int]]:
        """Who heals, who follows, and the partitions of who follows."""
        found = owners(self.settings)
        healer, follower = self.one, self.two
        if found[HEALER] != healer.name:
            healer, follower = follower, healer
        return healer, follower, [number for number, name in found.items() if name != healer.name]

    def end(self) -> int:
        """Stop all three, and see that every row counted once; how many could be read."""
        readable = self.feed.end()
        wait_for(lambda: len(consuming.records(self.settings, "labelled")) >= len(readable))
        self.one.stop()
        self.two.stop()
        assert_nothing_lost(self.settings, readable)
        checked = audit(self.settings, self.model, Wanted())
        assert (checked.checked, checked.unexplained) == (len(readable), [])
        assert audit_events.audit(self.settings).wrong == []
        return len(readable)


@contextmanager
def two_replicas(
    bootstrap: str, names: Names, create_topics: CreateTopics, folder: Path, *, rows_s: float
) -> Iterator[Pair]:
    """Under load, the partitions shared in equal parts."""
    create_topics(names.transactions, names.labels, partitions=PARTITIONS)
    settings, other = (
        consuming.settings(bootstrap, names, instance_id=number, **DEPLOYED_ALL)
        for number in ("0", "1")
    )
    model = consuming.model(folder / "model")
    feed = Feed(settings, rows_s)
    with Replica(settings, folder / "model", folder) as one:
        wait_for_owners(settings, one)
        feed.start()
        with Replica(other, folder / "model", folder) as two:
            wait_for_owners(settings, one, two)
            yield Pair(settings, model, one, two, feed)


def owners(settings: Settings) -> dict[int, str]:
    """Who has which partition, as the group's coordinator tells; nobody while there is none."""
    admin = AdminClient({"bootstrap.servers": settings.kafka.bootstrap_servers})
    (told,) = admin.describe_consumer_groups([settings.application_id]).values()
    try:
        members = told.result(20).members
    except KafkaException:
        return {}
    return {
        place.partition: member.group_instance_id
        for member in members
        for place in member.assignment.topic_partitions
    }


def wait_for(found: Callable[[], bool], seconds: float = MOVED_WITHIN_S) -> None:
    """Until something is so; fails where it takes too long."""
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.2)


def wait_for_owners(settings: Settings, *replicas: Replica) -> None:
    """Until these replicas, and no others, have all partitions in equal parts."""
    shared = sorted([replica.name for replica in replicas] * (PARTITIONS // len(replicas)))
    wait_for(lambda: sorted(owners(settings).values()) == shared)


def wait_for_following(pair: Pair) -> None:
    """Until a partition of who follows is scored with what the other heals from now on."""
    healer, _, partitions = pair.roles()
    before = {_version(line) for line in healer.said("heal-deployed")}

    def followed() -> bool:
        new = {_version(line) for line in healer.said("heal-deployed")} - before
        return any(
            partition in partitions and version in new
            for partition, version in activations(pair.settings)
        )

    wait_for(followed)


def wait_for_deployed(settings: Settings) -> None:
    """Until all partitions are scored with the version deployed last, by whichever replica."""

    def scored() -> bool:
        (deployed,) = [
            orjson.loads(record.value or b"")["version"]
            for record in consuming.records(settings, "registry")
            if record.key == DEPLOYED.encode()
        ][-1:] or [None]
        with Reader(settings.kafka) as reader:
            last = [reader.last(settings.topic("scores"), n, 1)[-1] for n in range(PARTITIONS)]
        return {orjson.loads(m.value() or b"")["adapter_version"] for m in last} == {deployed}

    wait_for(scored)


def activations(settings: Settings) -> list[tuple[int, int]]:
    """Partition and version, wherever a batch began with another one than the batch before."""
    found = []
    for record in consuming.records(settings, "registry"):
        kind, *place = (record.key or b"").decode().split("/")
        if kind == "active":
            found.append((int(place[-2]), int(orjson.loads(record.value or b"")["version"])))
    return found


def assert_nothing_lost(settings: Settings, readable: list[str]) -> None:
    """One score or dead letter for each record, every label joined, every version one heal's."""
    topics = settings.input.transactions.topic, settings.input.labels.topic
    assert outcomes.of_transactions(settings) == outcomes.inputs(settings, topics[0])
    unreadable = len(outcomes.letters(settings, topics[0]))
    assert sum(outcomes.letters(settings, topics[1]).values()) == unreadable
    joined = [row["transaction_id"] for row in consuming.messages(settings, "labelled")]
    assert sorted(joined) == readable
    counts = [outcomes.checkpoint(settings, n)["pipeline"] for n in range(PARTITIONS)]
    assert sum(state["join"]["counts"]["matched"] for state in counts) == len(readable)
    for name in ("scored", "labels", "joined"):
        assert sum(state[name] for state in counts) == len(readable)
    snapshots = [
        record.key
        for record in consuming.records(settings, "registry")
        if (record.key or b"").startswith(b"snapshot/")
    ]
    assert len(set(snapshots)) == len(snapshots)


def _version(line: dict[str, Any]) -> int:
    # "heal of labelled batch 7 of transactions[0] deployed as v9"
    return int(line["event"].rpartition(" v")[2])
