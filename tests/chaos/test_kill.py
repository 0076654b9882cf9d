"""200,000 transactions, two dozen kills, two broker restarts: nothing is lost, doubled or changed.

Run with `make chaos`.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from consumer import model_directory
from consumer.audit import Wanted, audit
from consumer.settings import Settings
from tests.broker import Broker, real_broker
from tests.conftest import Names
from tests.integration import consuming, killing, outcomes
from tests.integration.killing import Run

pytestmark = pytest.mark.chaos

ROWS = 200_000
PARTITIONS = 4
DELAY_MS = 60_000  # 600 rows late
DRIFTS = 10  # so that in every stretch of the stream there is something to heal
UNREADABLE_EVERY = 5_000

# On this stream most heals are rolled back to the same snapshot by the published limits, and then
# nothing swaps.
LESS_ROLLED_BACK = {"health__f1_drop": 0.3, "health__accuracy_drop": 0.5}

# Each place twice. A replay commits once or twice a second at most, so a small count is some
# thousands of rows further: no run may come near the end of the stream.
POINTS = [
    *("produced:1", "produced:3", "offsets:1", "offsets:2", "committing:1", "committing:3"),
    *("heal:1", "heal:2", "swap:1", "swap:1", "restore:1", "restore:4"),
    *("rebalance:1", "rebalance:1"),
]
# Of a broker that is away: longer than any of librdkafka's waits between two attempts (1 s), and
# shorter than what a commit is tried for.
AWAY_S = (5.0, 8.0)
GOES_ON_WITHIN_S = 100.0


@pytest.fixture(scope="module")
def own_broker() -> Iterator[Broker]:
    """One to stop and to kill."""
    with real_broker() as running:
        yield running


@pytest.mark.parametrize("mode", ["inline", "threaded"])
def test_killed_through_the_stream(
    own_broker: Broker, names: Names, tmp_path: Path, mode: str
) -> None:
    def of(application_id: str) -> Settings:
        return consuming.settings(
            own_broker.bootstrap,
            names,
            application_id=application_id,
            heal__mode=mode,
            **LESS_ROLLED_BACK,
        )

    killed, left_alone = of(names.application_id), of(f"{names.application_id}-alone")
    consuming.model(tmp_path / "model")
    publish(killed)
    began = time.monotonic()
    alone = killing.run_and_kill(left_alone, tmp_path / "model", tmp_path / "alone", [], seed=0)
    alone_s = time.monotonic() - began
    scored = Progress(killed)
    kills = [*POINTS, *[killing.at_any_moment] * 4, *[scored.then_kill] * 4]
    ways = killing.shuffled(kills, seed=4)
    for third, end in ((2, own_broker.kill), (1, own_broker.stop)):
        ways.insert(third * len(kills) // 3, outage(own_broker, end, scored))
    found = killing.run_and_kill(killed, tmp_path / "model", tmp_path / "killed", ways, seed=4)
    print(f"{mode}: {found.deaths} deaths, {time.monotonic() - began:.0f} s, alone {alone_s:.0f} s")

    assert alone.deaths == 0
    assert sorted(found.proven) == sorted(point.split(":")[0] for point in POINTS)
    assert found.deaths >= 20
    if mode == "inline":
        outcomes.assert_same(killed, left_alone, partitions=PARTITIONS)
    else:
        assert_same_but_for_heals(killed, left_alone)
    checked = audit(killed, model_directory.load(tmp_path / "model"), Wanted())
    assert (checked.checked, checked.unexplained) == (ROWS, [])


def publish(settings: Settings) -> None:
    """Transactions, labels, and in every partition of both some that cannot be read."""
    topics = settings.input.transactions.topic, settings.input.labels.topic
    admin = AdminClient({"bootstrap.servers": settings.kafka.bootstrap_servers})
    for made in admin.create_topics([NewTopic(topic, PARTITIONS, 1) for topic in topics]).values():
        made.result()
    table = consuming.drifting(ROWS, seed=21, times=DRIFTS)
    for partition, numbers in consuming.blocks(ROWS, PARTITIONS):
        consuming.send(settings, table, numbers, partition=partition, delay_ms=DELAY_MS)
        if numbers.start % UNREADABLE_EVERY < PARTITIONS * len(numbers):
            for topic in topics:
                consuming.send_raw(settings, topic, [b"not json", b"{}"], partition)


class Progress:
    """How far the application has come, as its group has committed."""

    def __init__(self, settings: Settings) -> None:
        topic = settings.input.transactions.topic
        self._places = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        self._reader = Consumer(
            {
                "bootstrap.servers": settings.kafka.bootstrap_servers,
                "group.id": settings.application_id,
                # Offsets in an open transaction do not hide the ones before.
                "isolation.level": "read_uncommitted",
                "log_level": 0,
            }
        )

    def rows(self) -> int:
        """Transactions processed, dead letters included; 0 where nobody answers."""
        try:
            found = self._reader.committed(self._places, timeout=5)
        except KafkaException:
            return 0
        return sum(max(0, place.offset) for place in found)

    def reach(self, rows: float, run: Run, seconds: float = killing.RUN_S) -> None:
        """Wait until so many are there, or the run has ended by itself."""
        deadline = time.monotonic() + seconds
        while run.alive and self.rows() < rows:
            assert time.monotonic() < deadline, f"stands still:\n{run.said.read_text()[-4_000:]}"
            time.sleep(0.05)

    def then_kill(self, run: Run) -> None:
        """Kill it at work, at about the same share of the stream as of the deaths."""
        self.reach(run.share * ROWS, run)
        time.sleep(run.draw.uniform(0, 0.3))
        run.process.kill()


def outage(broker: Broker, end: Callable[[], None], progress: Progress) -> Callable[[Run], None]:
    """The broker goes while the consumer is at work and comes back; the same process goes on."""

    def happens(run: Run) -> None:
        before = max(run.share * ROWS, progress.rows() + 2_000)
        progress.reach(before, run)
        before = progress.rows()
        assert run.alive, "all was read before the broker could go"
        end()
        away_s = run.draw.uniform(*AWAY_S)
        time.sleep(away_s)
        broker.start()
        back = time.monotonic()
        progress.reach(before + 5_000, run, GOES_ON_WITHIN_S)
        assert run.process.poll() in (None, 0), run.said.read_text()[-4_000:]
        after_s = time.monotonic() - back
        print(f"broker away {away_s:.1f} s: went on {after_s:.1f} s after it was back")
        run.process.kill()

    return happens


def assert_same_but_for_heals(one: Settings, other: Settings) -> None:
    """What does not depend on when a heal ended is that of a run left alone."""
    topics = one.input.transactions.topic, one.input.labels.topic
    wanted = outcomes.inputs(one, topics[0])
    assert outcomes.of_transactions(one) == outcomes.of_transactions(other) == wanted
    assert outcomes.letters(one, topics[1]) == outcomes.letters(other, topics[1])
    mine, theirs = outcomes.labelled(one), outcomes.labelled(other)
    assert sum(map(len, mine.values())) == ROWS
    for partition in range(PARTITIONS):
        for row, same in zip(mine[partition], theirs[partition], strict=True):
            assert row.pop("shadow_score") == pytest.approx(same.pop("shadow_score"), abs=1e-6)
            for name in ("score", "adapter_version"):
                del row[name], same[name]
            assert row == same
        states = [outcomes.checkpoint(s, partition)["pipeline"] for s in (one, other)]
        assert frozen(states[0]) == frozen(states[1])


def frozen(state: dict[str, Any]) -> dict[str, Any]:
    """Of a partition's state what no heal changes."""
    names = ("join", "scored", "labels", "joined", "shadow_right", "batches", "labelled_batches")
    running = state["running"]
    kept = {name: state[name] for name in (*names, "labelled_rows", "label_counts", "dead")}
    return kept | {name: running[name] for name in ("number", "frozen", "frozen_before")}
