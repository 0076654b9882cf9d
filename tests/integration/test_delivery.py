"""At least once: seen at once, nothing lost by a crash. Exactly once: an aborted transaction."""

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._resource import ResourceType

from consumer.errors import AbortedError, KafkaUnavailableError
from consumer.kafka.reader import read_all
from consumer.loop import Loop
from consumer.model_directory import Model
from consumer.order import Sequencer
from consumer.settings import Settings
from tests.broker import Broker
from tests.conftest import CreateTopics, Names
from tests.integration import consuming, killing, outcomes
from tests.integration.test_flood import committed
from tests.integration.test_process import wait_for

ROWS = 3_000
TABLE = consuming.rows(ROWS, seed=61)
NOTHING_COMMITTED = -1001
GOING_BACK = "going back to the last commit"


def seen(settings: Settings, topic: str, isolation: str = "read_uncommitted") -> int:
    """Records that a reader sees, by default one who does not wait for a commit."""
    now = settings.kafka.model_copy(update={"properties": {"isolation.level": isolation}})
    try:
        return sum(1 for _ in read_all(now, settings.topic(topic)))
    except KafkaUnavailableError:
        return 0  # the topic is about to be made


def test_at_least_once_is_seen_before_any_commit(
    broker: Broker, names: Names, create_topics: CreateTopics, model: Model
) -> None:
    create_topics(names.transactions, names.labels)
    settings = consuming.settings(
        broker.bootstrap, names, delivery="at_least_once", commit__interval_ms=30_000
    )
    consuming.send(settings, TABLE, range(500), delay_ms=1_000)
    loop = Loop(settings, model)
    thread, raised = consuming.in_background(loop)
    try:
        wait_for(lambda: seen(settings, "scores") == 500, 20)
        wait_for(lambda: seen(settings, "labelled") == 500, 20)
        assert committed(settings, names.transactions) == NOTHING_COMMITTED
    finally:
        loop.stop("test")
        thread.join(20)
    assert not raised
    assert (committed(settings, names.transactions), committed(settings, names.labels)) == (
        500,
    ) * 2
    # The markers that end a transaction would take offsets.
    (last,) = consuming.records(settings, "scores")[-1:]
    assert last.offset == 499
    consuming.send(settings, TABLE, range(500, 600))
    status = consuming.consume(settings, model)
    assert (status.rows, status.labelled) == (600, 600)
    assert [s["offset"] for s in consuming.messages(settings, "scores")] == list(range(600))


def test_at_least_once_a_crash_repeats_what_was_not_committed_and_loses_nothing(
    broker: Broker, names: Names, create_topics: CreateTopics, folder: Path, model: Model
) -> None:
    create_topics(names.transactions, names.labels)
    settings = consuming.settings(broker.bootstrap, names, delivery="at_least_once")
    consuming.send(settings, TABLE, range(1_000), delay_ms=1_000)
    consuming.consume(settings, model)
    consuming.send(settings, TABLE, range(1_000, ROWS), delay_ms=1_000)
    run = killing.command(settings, folder / "model", "--until-end")
    run += ["--set", "delivery=at_least_once"]
    run += ["--set", "commit.interval_ms=1", "--set", "input.order=arrival"]
    for nth in (3, 4):
        environment = {**os.environ, "REFLEXIVE_FAILPOINT": f"produced:{nth}"}
        ended = subprocess.run(run, env=environment, stderr=subprocess.DEVNULL, timeout=60)
        assert ended.returncode == -signal.SIGKILL
        done = committed(settings, names.transactions)
        assert done >= 1_000
        before = Counter(s["offset"] for s in consuming.messages(settings, "scores"))
        assert set(range(done)) <= set(before)
    subprocess.run(run, check=True, stderr=subprocess.DEVNULL, timeout=60)

    scores = Counter(score["offset"] for score in consuming.messages(settings, "scores"))
    assert set(scores) == set(range(ROWS))
    assert {offset: scores[offset] for offset in range(done)} == {
        offset: before[offset] for offset in range(done)
    }
    assert max(scores.values()) <= 3  # two crashes
    rows = Counter(row["transaction_id"] for row in consuming.messages(settings, "labelled"))
    assert set(rows) == {f"t-{number:06d}" for number in range(ROWS)}
    counts = outcomes.checkpoint(settings, 0)["pipeline"]["join"]["counts"]
    # A label that was joined just before a crash is met again as its own duplicate.
    assert counts["matched"] + counts.get("duplicate", 0) == ROWS
    assert counts["matched"] >= 1_000
    assert set(counts) <= {"matched", "duplicate"}


@pytest.fixture
def breakable(
    broker: Broker, names: Names, create_topics: CreateTopics
) -> tuple[Settings, Callable[[int], None]]:
    """Settings, and how to set the largest message that the scores' topic takes."""
    create_topics(names.transactions, names.labels, f"{names.application_id}.scores")
    settings = consuming.settings(broker.bootstrap, names)
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})

    def limit(size: int) -> None:
        entry = ConfigEntry(
            "max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET
        )
        scores = ConfigResource(
            ResourceType.TOPIC, settings.topic("scores"), incremental_configs=[entry]
        )
        for done in admin.incremental_alter_configs([scores]).values():
            done.result()

    return settings, limit


def times(logs: list[Any], line: str) -> int:
    return sum(entry["event"] == line for entry in logs)


def test_after_an_aborted_transaction_it_goes_on_from_the_last_commit(
    breakable: tuple[Settings, Callable[[int], None]], model: Model
) -> None:
    settings, limit = breakable
    consuming.send(settings, TABLE, range(500), delay_ms=1_000)
    loop = Loop(settings, model)
    with structlog.testing.capture_logs() as logs:
        thread, raised = consuming.in_background(loop)
        try:
            wait_for(lambda: seen(settings, "labelled") == 500, 20)
            limit(100)
            consuming.send(settings, TABLE, range(500, 1_000), delay_ms=1_000)
            wait_for(lambda: times(logs, GOING_BACK) > 0, 20)
            limit(1_000_000)
            wait_for(lambda: len(consuming.records(settings, "labelled")) == 1_000, 30)
        finally:
            loop.stop("test")
            thread.join(20)
    assert not raised
    assert times(logs, GOING_BACK) >= 1
    for topic in ("scores", "labelled"):
        found = [message["offset"] for message in consuming.messages(settings, topic)]
        assert found == list(range(1_000))
    counts = outcomes.checkpoint(settings, 0)["pipeline"]["join"]["counts"]
    assert counts["matched"] == 1_000


@pytest.mark.parametrize("rows_wait", [False, True])
def test_a_transaction_that_is_aborted_each_time_ends_with_an_error(
    breakable: tuple[Settings, Callable[[int], None]],
    model: Model,
    monkeypatch: pytest.MonkeyPatch,
    rows_wait: bool,
) -> None:
    settings, limit = breakable
    limit(100)
    run = Sequencer.run

    def run_late(sequencer: Sequencer[Any]) -> None:
        # A commit is due while rows wait for others: it is the first that tells their offset.
        if rows_wait and times(logs, GOING_BACK) == 2:
            sequencer._commit()
        run(sequencer)

    monkeypatch.setattr(Sequencer, "run", run_late)
    # No labels: a commit of those alone would go through between two aborts, and they count anew.
    values = [orjson.dumps(consuming.transaction(number, TABLE)) for number in range(200)]
    consuming.send_raw(settings, settings.input.transactions.topic, values)
    with (
        structlog.testing.capture_logs() as logs,
        pytest.raises(AbortedError, match="the transaction was aborted"),
    ):
        consuming.consume(settings, model)
    assert times(logs, GOING_BACK) == 5
    limit(1_000_000)
    consuming.consume(settings, model)
    assert [s["offset"] for s in consuming.messages(settings, "scores")] == list(range(200))


def test_what_comes_after_a_quiet_time_is_committed_at_once(
    broker: Broker, names: Names, create_topics: CreateTopics, model: Model
) -> None:
    create_topics(names.transactions, names.labels)
    settings = consuming.settings(broker.bootstrap, names, commit__interval_ms=8_000)
    loop = Loop(settings, model)
    thread, raised = consuming.in_background(loop)

    def published(topic: str = "scores") -> int:
        return seen(settings, topic, "read_committed")

    def send(number: int) -> None:  # no label: one that comes first is a commit of its own
        value = orjson.dumps(consuming.transaction(number, TABLE))
        consuming.send_raw(settings, names.transactions, [value])

    try:
        # That it started and that partitions came is committed; then it is quiet.
        wait_for(lambda: published("events") == 2, 20)
        time.sleep(8)
        send(0)
        wait_for(lambda: published() == 1, 6)
        # The next one waits: another commit so soon is not due.
        send(1)
        wait_for(lambda: seen(settings, "scores") == 2, 6)
        assert published() == 1
    finally:
        loop.stop("test")
        thread.join(20)
    assert not raised
    assert published() == 2
