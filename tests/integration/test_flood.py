"""A topic of nothing but broken messages trips the breaker: said, stopped at, and let through."""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Consumer, TopicPartition

from consumer.errors import FloodError, KafkaUnavailableError
from consumer.kafka.client import producer
from consumer.kafka.source import Polled, Source
from consumer.loop import Loop
from consumer.model_directory import Model
from consumer.settings import DAY_MS, Settings
from tests.broker import Broker
from tests.conftest import CreateTopics, Names
from tests.integration import consuming, killing
from tests.integration.test_process import wait_for
from tests.schemas import conforms

TABLE = consuming.rows(2_000, seed=41)
BROKEN = [b"{}"] * 300
# 60 of each 100, and never 100 in a row.
MOSTLY_BROKEN = [
    b"{}" if number % 10 < 6 else orjson.dumps(consuming.transaction(number, TABLE))
    for number in range(1_500)
]
WORSE = [
    b"{}" if number % 10 < 7 else orjson.dumps(consuming.transaction(number, TABLE))
    for number in range(900)
]


def send(settings: Settings, topic: str, values: list[bytes], partition: int = 0) -> None:
    out = producer(settings.kafka)
    for value in values:
        out.produce(topic, value, partition=partition)
    assert out.flush(30) == 0


def committed(settings: Settings, topic: str, partition: int = 0) -> int:
    reader = Consumer(
        {
            "bootstrap.servers": settings.kafka.bootstrap_servers,
            "group.id": settings.application_id,
        }
    )
    (found,) = reader.committed([TopicPartition(topic, partition)], timeout=20)
    reader.close()
    return int(found.offset)


def dead(settings: Settings) -> list[tuple[str, int]]:
    """Topic and offset of each dead letter."""
    found = [dict(record.headers) for record in consuming.records(settings, "dead-letters")]
    return [
        (
            (headers["__streams.errors.topic"] or b"").decode(),
            int(headers["__streams.errors.offset"] or b"-1"),
        )
        for headers in found
    ]


def floods(settings: Settings) -> list[dict[str, Any]]:
    found = [
        event
        for event in consuming.messages(settings, "events")
        if event["event"]["action"] == "dead-letter-flood"
    ]
    for event in found:
        conforms("event", event)
    return found


@contextmanager
def running(loop: Loop) -> Iterator[threading.Thread]:
    """In the background; it must end without an error once it is stopped."""
    thread, raised = consuming.in_background(loop)
    try:
        yield thread
    finally:
        loop.stop("test")
        thread.join(20)
    assert not raised


@pytest.mark.parametrize(
    ("values", "stops_at", "reason"),
    [
        (BROKEN, 100, "100 unreadable messages in a row"),
        (MOSTLY_BROKEN, 1_000, "600 of 1,000 messages unreadable"),
    ],
    ids=["all broken", "60% broken"],
)
def test_to_the_end_it_is_one_error_and_can_be_let_through(
    broker: Broker,
    names: Names,
    create_topics: CreateTopics,
    folder: Path,
    model: Model,
    values: list[bytes],
    stops_at: int,
    reason: str,
) -> None:
    create_topics(names.transactions, names.labels)
    settings = consuming.settings(broker.bootstrap, names, batch__span_s=0)
    send(settings, names.transactions, values)
    run = killing.command(settings, folder / "model", "--until-end")

    ended = subprocess.run(run, capture_output=True, text=True, timeout=60)

    assert ended.returncode == 1
    lines = ended.stderr.splitlines()
    assert lines[-1].startswith(f"error: {names.transactions}[0]: {reason}, up to offset")
    assert "dead_letters.max_run=0 and max_share=1" in lines[-1]
    assert "Traceback" not in ended.stderr
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    (event,) = floods(settings)
    assert event["reflexive"]["offset"] == stops_at - 1
    assert 0 < committed(settings, names.transactions) <= stops_at

    everything = ["--set", "dead_letters.max_run=0", "--set", "dead_letters.max_share=1"]
    ended = subprocess.run([*run, *everything], capture_output=True, text=True, timeout=60)

    assert ended.returncode == 0, ended.stderr
    bad = [offset for offset, value in enumerate(values) if value == b"{}"]
    assert sorted(dead(settings)) == [(names.transactions, offset) for offset in bad]
    scored = [score["offset"] for score in consuming.messages(settings, "scores")]
    assert scored == [offset for offset in range(len(values)) if offset not in set(bad)]
    assert len(floods(settings)) == 1


def test_a_flood_read_during_a_commit_is_said(
    broker: Broker,
    names: Names,
    create_topics: CreateTopics,
    model: Model,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    create_topics(names.transactions, names.labels)
    settings = consuming.settings(broker.bootstrap, names)
    send(settings, names.transactions, BROKEN)
    poll = Source.poll

    def only_at_commits(
        source: Source, timeout_s: float, to_commit_s: float = 0.0, *, most: int
    ) -> Polled:
        if source._assigned and timeout_s > 0:
            return Polled()
        return poll(source, timeout_s or 10.0, to_commit_s, most=most)

    monkeypatch.setattr(Source, "poll", only_at_commits)

    with pytest.raises(FloodError):
        Loop(settings, model, until_end=True).run()

    assert len(floods(settings)) == 1


@pytest.mark.parametrize(
    ("mode", "values", "stops_at"),
    # 200 good ones before; of the second the 833rd is the 501st bad one of a thousand; of the third
    # the 800th, a good one, is the first to fill the window.
    [("threaded", BROKEN, 300), ("inline", MOSTLY_BROKEN, 1_033), ("inline", WORSE, 1_000)],
    ids=["threaded, all broken", "inline, 60% broken", "inline, at a good one"],
)
def test_live_it_stays_right_behind_the_trip_and_all_else_goes_on(
    broker: Broker,
    names: Names,
    create_topics: CreateTopics,
    model: Model,
    mode: str,
    values: list[bytes],
    stops_at: int,
) -> None:
    create_topics(names.transactions, names.labels, partitions=2)
    # No batch of partition 0 is full before the flood: what is scored is labelled all the same.
    settings = consuming.settings(broker.bootstrap, names, heal__mode=mode, batch__rows=1_000)
    early = range(200)
    send(
        settings,
        names.transactions,
        [orjson.dumps(consuming.transaction(number, TABLE)) for number in early] + values,
    )
    with running(Loop(settings, model)) as process:
        wait_for(lambda: len(_messages(settings, "events", "dead-letter-flood")) == 1)
        more = [*BROKEN, orjson.dumps(consuming.transaction(1_900, TABLE))]
        send(settings, names.transactions, more)
        consuming.send(settings, TABLE, range(1_000, 1_900), partition=1, delay_ms=1_000)
        labels = [orjson.dumps(consuming.label(number, TABLE, DAY_MS)) for number in early]
        send(settings, names.labels, labels)
        wait_for(lambda: len(_labelled(settings, 0)) == 200, 20)
        wait_for(lambda: len(_labelled(settings, 1)) == 900, 20)
        assert process.is_alive()
        assert committed(settings, names.transactions) == stops_at
    assert committed(settings, names.transactions) == stops_at
    bad = {200 + offset for offset, value in enumerate(values) if value == b"{}"}
    assert sorted(dead(settings)) == [
        (names.transactions, offset) for offset in range(stops_at) if offset in bad
    ]
    scores = [s["offset"] for s in consuming.messages(settings, "scores") if s["partition"] == 0]
    assert scores == [offset for offset in range(stops_at) if offset not in bad]
    assert len(floods(settings)) == 1


def _labelled(settings: Settings, partition: int) -> list[dict[str, Any]]:
    return [row for row in _messages(settings, "labelled") if row["partition"] == partition]


def _messages(settings: Settings, topic: str, action: str | None = None) -> list[dict[str, Any]]:
    try:
        found = consuming.messages(settings, topic)
    except KafkaUnavailableError:
        return []  # the topic is about to be made
    return [one for one in found if action is None or one["event"]["action"] == action]
