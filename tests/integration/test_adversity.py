"""Disks that fail, registries that lie, clocks that jump: everything is scored, and said once."""

import json
import os
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog

from consumer import restore
from consumer.kafka.client import producer
from consumer.model_directory import Model
from consumer.settings import DAY_MS, Settings
from tests.broker import Broker
from tests.conftest import CreateTopics, Names
from tests.integration import consuming, killing

TABLE = consuming.rows(1_500, seed=71, shift=2.2)


@pytest.fixture
def settings(broker: Broker, names: Names, create_topics: CreateTopics) -> Settings:
    create_topics(names.transactions, names.labels)
    return consuming.settings(broker.bootstrap, names)


def send(
    settings: Settings, topic: str, messages: list[Any], times: list[int] | None = None
) -> None:
    out = producer(settings.kafka)
    for number, message in enumerate(messages):
        value = message if isinstance(message, bytes) else orjson.dumps(message)
        at = times[number] if times else 0  # 0: now
        out.produce(topic, value, partition=0, timestamp=at)
    assert out.flush(30) == 0


def assert_all_joined(settings: Settings, rows: int) -> None:
    scores = [score["offset"] for score in consuming.messages(settings, "scores")]
    assert scores == list(range(rows))
    joined = Counter(row["offset"] for row in consuming.messages(settings, "labelled"))
    assert joined == Counter(range(rows))


# --- The join's cache ---


def with_cache(settings: Settings, folder: Path) -> Settings:
    return settings.model_copy(
        update={"join": settings.join.model_copy(update={"cache_dir": folder})}
    )


def warnings(settings: Settings, model: Model, cache: Path) -> list[dict[str, Any]]:
    """Run to the end; what was said of the join's cache."""
    with structlog.testing.capture_logs() as logs:
        consuming.consume(with_cache(settings, cache), model)
    return of_the_join(logs)


def of_the_join(logs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        dict(log)
        for log in logs
        if "warning" in (log.get("log_level"), log.get("level")) and "join" in log["event"]
    ]


def first_half(settings: Settings) -> None:
    """Transactions whose labels come after a restart."""
    topics = settings.input
    send(settings, topics.transactions.topic, [consuming.transaction(n, TABLE) for n in range(500)])


def second_half(settings: Settings) -> None:
    labels = [consuming.label(number, TABLE, 60_000) for number in range(500)]
    send(settings, settings.input.labels.topic, labels)


CANNOT_BE_WRITTEN = "a join's cache cannot be written; a restart will read the changelog instead"


def test_a_cache_in_a_folder_that_is_read_only_is_one_warning(
    settings: Settings, model: Model, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    if os.geteuid() == 0:
        cache = Path("/sys/reflexive")  # nothing stops root elsewhere
    else:
        tmp_path.chmod(0o500)
    first_half(settings)
    (warning,) = warnings(settings, model, cache)
    assert warning["event"] == CANNOT_BE_WRITTEN
    assert warning["reason"]
    second_half(settings)
    assert [one["event"] for one in warnings(settings, model, cache)] == [CANNOT_BE_WRITTEN]
    assert_all_joined(settings, 500)


def test_a_cache_on_a_full_disk_is_one_warning(
    settings: Settings, folder: Path, model: Model, tmp_path: Path
) -> None:
    first_half(settings)
    cache = f"join.cache_dir={tmp_path}"
    command = killing.command(settings, folder / "model", "--until-end", "--set", cache)
    ended = subprocess.run(
        ["bash", "-c", 'ulimit -f 8; exec "$@"', "bash", *command],  # 8 KiB a file
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    said = [json.loads(line) for line in ended.stderr.splitlines() if "event" in line]
    (warning,) = of_the_join(said)
    assert (warning["event"], warning["reason"]) == (CANNOT_BE_WRITTEN, "File too large")
    assert list(tmp_path.iterdir()) == []  # nothing half written is left
    second_half(settings)
    assert warnings(settings, model, tmp_path) == []
    assert_all_joined(settings, 500)


@pytest.mark.parametrize("spoilt", ["corrupted", "of another application"])
def test_a_cache_that_is_not_ours_is_one_warning_and_the_changelog_is_read(
    settings: Settings, model: Model, tmp_path: Path, spoilt: str
) -> None:
    first_half(settings)
    assert warnings(settings, model, tmp_path) == []
    (file,) = tmp_path.iterdir()
    content = bytearray(file.read_bytes())
    if spoilt == "corrupted":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    else:
        name = f"{settings.application_id}-2"
        other = settings.model_copy(update={"application_id": name})
        warnings(other, model, tmp_path)
        (tmp_path / f"{name}.pending-0.join").replace(file)
    second_half(settings)
    (warning,) = warnings(settings, model, tmp_path)
    assert ("is truncated or corrupted" if spoilt == "corrupted" else "not of") in warning["reason"]
    assert_all_joined(settings, 500)


# --- The registry ---


def test_of_spoilt_snapshots_the_last_good_one_is_taken_and_it_is_said(
    settings: Settings, model: Model
) -> None:
    consuming.send(settings, TABLE, range(1_000))
    before = consuming.consume(settings, model)
    assert before.heals > 0
    good = restore.snapshots(settings, model)[before.adapter_version]
    newer = max(restore.snapshots(settings, model)) + 1
    altered = bytearray(good.value)
    altered[-1] ^= 1
    manifest = {**good.manifest, "version": newer, "parent": good.version}
    foreign = {**manifest, "version": newer + 1, "base_sha256": "0" * 64}
    out = producer(settings.kafka)
    for version, value, told in (
        (newer, bytes(altered), manifest),
        (newer + 1, good.value, foreign),
    ):
        headers: list[tuple[str, Any]] = [("manifest", orjson.dumps(told))]
        out.produce(settings.topic("registry"), value, key=f"snapshot/{version}", headers=headers)
    # The very one in force, spoilt: the record before it was good.
    headers = [("manifest", orjson.dumps(dict(good.manifest)))]
    out.produce(settings.topic("registry"), bytes(altered), key=good.key, headers=headers)
    assert out.flush(20) == 0

    consuming.send(settings, TABLE, range(1_000, 1_050))
    with structlog.testing.capture_logs() as logs:
        consuming.consume(settings, model)

    scores = consuming.messages(settings, "scores")
    assert [score["offset"] for score in scores] == list(range(1_050))
    assert {score["adapter_version"] for score in scores[1_000:]} == {before.adapter_version}
    refused = [log["event"] for log in logs if "it is refused" in log["event"]]
    assert [line.split(":")[0] for line in refused] == [
        f"registry record snapshot/{newer}",
        f"registry record {good.key}",
    ]
    (passed_over,) = [log for log in logs if "of another base model passed over" in log["event"]]
    assert passed_over["count"] == 1


# --- Time ---


@pytest.mark.parametrize("mode", ["threaded", "inline"])
def test_event_times_may_jump_a_year_back_and_a_day_ahead(
    settings: Settings, model: Model, mode: str
) -> None:
    settings = settings.model_copy(update={"heal": settings.heal.model_copy(update={"mode": mode})})
    jumps = {200: -365 * DAY_MS, 400: 0, 600: DAY_MS // 2, 800: 0}
    transactions, labels, offset = [], [], 0
    for number in range(1_000):
        offset = jumps.get(number, offset)
        transaction, label = consuming.transaction(number, TABLE), consuming.label(number, TABLE)
        transactions.append(transaction | {"event_time": transaction["event_time"] + offset})
        labels.append(label | {"labelled_at": label["labelled_at"] + offset + 500})
    send(settings, settings.input.transactions.topic, transactions)
    send(settings, settings.input.labels.topic, labels)

    status = consuming.consume_until(settings, model, lambda status: status.labelled == 1_000)

    assert_all_joined(settings, 1_000)
    assert status.batches >= 9


@pytest.mark.parametrize("at", ["1970", "in 30,000 years"])
def test_a_records_own_time_may_be_anything(
    broker: Broker, names: Names, create_topics: CreateTopics, model: Model, at: str
) -> None:
    # Since Kafka 4 a topic takes only what is less than an hour ahead, unless it is told otherwise.
    anything = {"message.timestamp.after.max.ms": str(2**63 - 1), "retention.ms": "-1"}
    create_topics(names.transactions, names.labels, config=anything)
    settings = consuming.settings(broker.bootstrap, names)
    time_ms = 1 if at == "1970" else 30_000 * 365 * DAY_MS
    good = [consuming.transaction(number, TABLE) for number in range(100)]
    broken = [b"{", b"[]"]
    send(settings, names.transactions, [*good, *broken], [time_ms] * 102)
    labels = [consuming.label(number, TABLE) for number in range(100)]
    send(settings, names.labels, [*labels, *broken], [time_ms] * 102)

    status = consuming.consume(settings, model)

    assert (status.rows, status.labelled, status.dead_letters) == (100, 100, 4)
    said = [
        e for e in consuming.messages(settings, "events") if e["event"]["action"] == "dead-letters"
    ]
    assert len(said) == 4
