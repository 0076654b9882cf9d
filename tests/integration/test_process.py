"""The consumer as a process: signals, restarts, replicas, and errors of the set-up."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Consumer, TopicPartition

from consumer import restore
from consumer.errors import CommandError, KafkaUnavailableError, ThresholdError
from consumer.kafka.client import admin, connect
from consumer.kafka.reader import read_all
from consumer.loop import Loop
from consumer.pipeline import Pipeline
from consumer.settings import Settings, load
from tests.broker import Broker
from tests.conftest import CreateTopics, Names
from tests.integration import commands, consuming, killing


def start(settings: Settings, model: Path, *more: str) -> subprocess.Popen[str]:
    """`python -m consumer run` on a test's topics."""
    names = settings.input
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "consumer", "run", "--model", str(model)),
            *("--bootstrap-servers", settings.kafka.bootstrap_servers),
            *("--application-id", settings.application_id),
            *("--transactions-topic", names.transactions.topic),
            *("--labels-topic", names.labels.topic),
            *("--set", f"heal.policy={settings.heal.policy}", *more),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(found: Callable[[], bool], seconds: float = 45.0) -> None:
    """Until something is so; fails when it takes too long."""
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.2)


def committed(settings: Settings) -> list[int]:
    """Committed offsets of partition 0 of transactions and labels."""
    reader = Consumer(
        {
            "bootstrap.servers": settings.kafka.bootstrap_servers,
            "group.id": settings.application_id,
        }
    )
    topics = (settings.input.transactions.topic, settings.input.labels.topic)
    found = reader.committed([TopicPartition(topic, 0) for topic in topics], timeout=20)
    reader.close()
    return [place.offset for place in found]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(
    broker: Broker,
    names: Names,
    create_topics: CreateTopics,
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    create_topics(names.transactions, names.labels)
    settings = consuming.settings(broker.bootstrap, names)
    consuming.model(tmp_path / "model")
    consuming.send(settings, consuming.rows(1_250, seed=7, shift=2.2), range(1_250))
    process = start(settings, tmp_path / "model")
    wait_for(lambda: _count(settings, "labelled") == 1_250)
    at = time.monotonic()
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert time.monotonic() - at < 5
    assert process.returncode == 0, said
    assert "Traceback" not in said
    assert committed(settings) == [1_250, 1_250]
    assert consuming.actions(settings)[-1] == "partitions-revoked"
    assert f"consumer stopped: {number.name}" in said


def test_a_signal_ends_a_long_heal_before_its_next_step(
    broker: Broker, names: Names, create_topics: CreateTopics, tmp_path: Path
) -> None:
    create_topics(names.transactions, names.labels)
    settings = consuming.settings(broker.bootstrap, names)
    consuming.model(tmp_path / "model")
    consuming.send(settings, consuming.rows(1_000, seed=7, shift=2.2), range(1_000))
    process = start(settings, tmp_path / "model", "--set", "heal.steps=100000000")
    wait_for(lambda: _count(settings, "labelled") == 1_000)
    at = time.monotonic()
    process.terminate()
    _, said = process.communicate(timeout=20)
    assert time.monotonic() - at < 5
    assert process.returncode == 0, said
    found = consuming.actions(settings)
    assert "heal-requested" in found
    assert "heal-deployed" not in found
    assert "heal-discarded" in found


def test_a_restart_goes_on_where_it_stopped(
    broker: Broker, names: Names, create_topics: CreateTopics, tmp_path: Path
) -> None:
    create_topics(names.transactions, names.labels)
    settings = consuming.settings(broker.bootstrap, names)
    model = consuming.model(tmp_path / "model")
    table = consuming.rows(2_000, seed=8, shift=2.2)
    consuming.send(settings, table, range(1_000))
    before = consuming.consume(settings, model)
    assert before.heals > 0
    consuming.send(settings, table, range(1_000, 2_000))
    consuming.consume(settings, model)
    scores = consuming.messages(settings, "scores")
    assert [score["offset"] for score in scores] == list(range(2_000))
    # The adapter deployed before the restart scores the first row after it.
    assert scores[1_000]["adapter_version"] == before.adapter_version > 1
    keys = [record.key for record in consuming.records(settings, "registry")]
    snapshots = [key for key in keys if key and key.startswith(b"snapshot/")]
    assert len(snapshots) == len(set(snapshots))


def test_a_partition_that_held_nothing_yet_is_begun_after_a_restart(
    broker: Broker, names: Names, create_topics: CreateTopics, tmp_path: Path
) -> None:
    create_topics(names.transactions, names.labels, partitions=2)
    settings = consuming.settings(broker.bootstrap, names)
    model = consuming.model(tmp_path / "model")
    table = consuming.rows(600, seed=16)
    consuming.send(settings, table, range(300))
    assert consuming.consume(settings, model).rows == 300
    consuming.send(settings, table, range(300, 600), partition=1)
    assert consuming.consume(settings, model).rows == 600
    places = [
        (score["partition"], score["offset"]) for score in consuming.messages(settings, "scores")
    ]
    assert sorted(places) == [(p, o) for p in (0, 1) for o in range(300)]


def test_after_an_error_nothing_half_done_is_seen_and_nothing_is_lost(
    broker: Broker,
    names: Names,
    create_topics: CreateTopics,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    create_topics(names.transactions, names.labels)
    settings = consuming.settings(broker.bootstrap, names, commit__max_rows=300)
    model = consuming.model(tmp_path / "model")
    consuming.send(settings, consuming.rows(1_000, seed=12, shift=2.2), range(1_000))
    end_batch, ended = Pipeline.end_batch, []

    def fails_in_batch_8(self, partition, idle):  # type: ignore[no-untyped-def]
        ended.append(partition)
        if len(ended) == 8:
            raise RuntimeError("as if by a defect")
        end_batch(self, partition, idle)

    monkeypatch.setattr(Pipeline, "end_batch", fails_in_batch_8)
    with pytest.raises(RuntimeError, match="as if by a defect"):
        consuming.consume(settings, model)
    assert len(ended) == 8
    assert max(committed(settings)) <= len(consuming.records(settings, "scores"))
    monkeypatch.undo()
    consuming.consume(settings, model)
    for topic in ("scores", "labelled"):
        offsets = [message["offset"] for message in consuming.messages(settings, topic)]
        assert sorted(offsets) == list(range(1_000))


def test_sighup_applies_edited_thresholds(
    broker: Broker, names: Names, create_topics: CreateTopics, tmp_path: Path
) -> None:
    create_topics(names.transactions, names.labels)
    settings = consuming.settings(broker.bootstrap, names)
    consuming.model(tmp_path / "model")
    table = consuming.rows(200, seed=9)
    file = tmp_path / "threshold_config.json"
    file.write_text(json.dumps({"format": 1, "thresholds": {"decision.threshold": 0.5}}))
    consuming.send(settings, table, range(100))
    process = start(settings, tmp_path / "model", "--threshold-config", str(file))
    try:
        wait_for(lambda: _scored(settings) == 100)
        file.write_text(json.dumps({"format": 1, "thresholds": {"decision.threshold": 0.25}}))
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: "thresholds-changed" in consuming.actions(settings))
        consuming.send(settings, table, range(100, 200))
        wait_for(lambda: _scored(settings) == 200)
    finally:
        process.terminate()
        process.communicate(timeout=20)
    thresholds = [score["threshold"] for score in consuming.messages(settings, "scores")]
    assert thresholds == [0.5] * 100 + [0.25] * 100
    (event,) = [
        e
        for e in consuming.messages(settings, "events")
        if e["event"]["action"] == "thresholds-changed"
    ]
    assert event["reflexive"]["thresholds_from"] == {"decision.threshold": 0.5}
    assert event["reflexive"]["thresholds_to"] == {"decision.threshold": 0.25}
    (command,) = consuming.messages(settings, "commands")
    assert command["why"] == "SIGHUP"


def test_two_replicas_share_the_partitions_and_score_each_record_once(
    broker: Broker, names: Names, create_topics: CreateTopics, tmp_path: Path
) -> None:
    create_topics(names.transactions, names.labels, partitions=4)
    settings = consuming.settings(broker.bootstrap, names)
    other = consuming.settings(broker.bootstrap, names, instance_id="1")
    model = consuming.model(tmp_path / "model")
    table = consuming.rows(4_000, seed=10)
    for partition in range(4):
        numbers = range(partition * 500, partition * 500 + 500)
        consuming.send(settings, table, numbers, partition=partition)
    first, second = Loop(settings, model), Loop(other, model)
    one, raised = consuming.in_background(first)
    wait_for(lambda: _scored(settings) == 2_000)
    two, raised_too = consuming.in_background(second)
    wait_for(lambda: consuming.actions(settings).count("partitions-assigned") >= 2)
    for partition in range(4):
        numbers = range(2_000 + partition * 500, 2_500 + partition * 500)
        consuming.send(settings, table, numbers, partition=partition)
    wait_for(lambda: _scored(settings) == 4_000)
    first.stop("test")
    second.stop("test")
    one.join(20)
    two.join(20)
    assert not raised + raised_too
    assert second.status.rows > 0
    scores = consuming.messages(settings, "scores")
    places = [(score["partition"], score["offset"]) for score in scores]
    assert sorted(places) == [(p, o) for p in range(4) for o in range(1_000)]
    for record in consuming.records(settings, "scores"):
        assert record.partition == json.loads(record.value or b"")["partition"]
    # Labels were read beside their transactions, whoever read them.
    assert len(consuming.messages(settings, "labelled")) >= 2_000


def test_unequal_partition_counts_are_named(
    broker: Broker, names: Names, create_topics: CreateTopics, tmp_path: Path
) -> None:
    create_topics(names.transactions, partitions=3)
    create_topics(names.labels, partitions=2)
    settings = consuming.settings(broker.bootstrap, names)
    with pytest.raises(KafkaUnavailableError, match="3 and 2 partitions"):
        consuming.consume(settings, consuming.model(tmp_path / "model"))


def test_a_registry_topic_that_is_not_compacted_is_named(
    broker: Broker, names: Names, create_topics: CreateTopics, tmp_path: Path
) -> None:
    create_topics(names.transactions, names.labels, f"{names.application_id}.registry")
    settings = consuming.settings(broker.bootstrap, names)
    with pytest.raises(KafkaUnavailableError, match=r"registry.*must be compact"):
        consuming.consume(settings, consuming.model(tmp_path / "model"))


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_a_second_process_with_the_same_instance_id_fences_the_first(
    broker: Broker, names: Names, create_topics: CreateTopics, tmp_path: Path, delivery: str
) -> None:
    create_topics(names.transactions, names.labels)
    settings = consuming.settings(broker.bootstrap, names)
    consuming.model(tmp_path / "model")
    table = consuming.rows(300, seed=11)
    consuming.send(settings, table, range(100))
    given = ("--set", f"delivery={delivery}")
    older = start(settings, tmp_path / "model", *given)
    wait_for(lambda: _scored(settings) == 100)

    def offsets() -> list[int]:
        return [score["offset"] for score in consuming.messages(settings, "scores")]

    newer = start(settings, tmp_path / "model", *given)
    try:
        wait_for(lambda: consuming.actions(settings).count("consumer-started") == 2)
        consuming.send(settings, table, range(100, 300))
        wait_for(lambda: len(set(offsets())) == 300)
        _, said = older.communicate(timeout=60)
    finally:
        newer.terminate()
        newer.communicate(timeout=20)
        older.kill()
    assert older.returncode == 1
    assert "has taken over" in said.splitlines()[-1]
    found = offsets()
    # At least once: until the older is told, both score.
    assert (found if delivery == "exactly_once" else sorted(set(found))) == list(range(300))


def _scored(settings: Settings) -> int:
    return _count(settings, "scores")


def _count(settings: Settings, topic: str) -> int:
    try:
        return len(consuming.records(settings, topic))
    except KafkaUnavailableError:
        return 0  # the topic is about to be made


def test_the_environment_reaches_the_process(tmp_path: Path) -> None:
    environment = os.environ | {"REFLEXIVE__WATCH__FIDI_Z": "soon"}
    ended = subprocess.run(
        [sys.executable, "-m", "consumer", "run", "--model", str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=15,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: setting watch.fidi_z:")
    assert len(ended.stderr.splitlines()) == 1


def test_a_wrong_threshold_file_at_start_is_an_error(
    broker: Broker, names: Names, create_topics: CreateTopics, tmp_path: Path
) -> None:
    create_topics(names.transactions, names.labels)
    settings = consuming.settings(
        broker.bootstrap, names, decision__threshold_config=str(tmp_path / "nowhere.json")
    )
    model = consuming.model(tmp_path / "model")
    with pytest.raises(ThresholdError, match=r"nowhere\.json"):
        consuming.consume(settings, model)
    file = tmp_path / "nowhere.json"
    file.write_text('{"format": 1, "thresholds": {"watch.conflicts": -1}}')
    with pytest.raises(ThresholdError, match=r"nowhere\.json: threshold watch\.conflicts"):
        consuming.consume(settings, model)


def test_a_wrong_key_is_an_error_before_anything_starts(
    broker: Broker, names: Names, create_topics: CreateTopics, tmp_path: Path
) -> None:
    create_topics(names.transactions, names.labels)
    settings = consuming.settings(
        broker.bootstrap, names, commands__key_file=str(tmp_path / "nowhere")
    )
    with pytest.raises(CommandError, match="nowhere"):
        consuming.consume(settings, consuming.model(tmp_path / "model"))
    with pytest.raises(KafkaUnavailableError, match="does not exist"):
        consuming.records(settings, "events")


def test_sigterm_ends_it_though_the_broker_is_gone(tmp_path: Path) -> None:
    consuming.model(tmp_path / "model")
    dying = subprocess.Popen(
        [sys.executable, "-m", "consumer", "broker"], stdout=subprocess.PIPE, text=True
    )
    assert dying.stdout is not None
    address = dying.stdout.readline().split()[3]
    settings = load(None, {"kafka.bootstrap_servers": address})
    consuming.send(settings, consuming.rows(500, seed=15), range(500))
    process = start(settings, tmp_path / "model")
    try:
        wait_for(lambda: _count(settings, "labelled") == 500)
        consuming.send(settings, consuming.rows(1_000, seed=15), range(500, 1_000))
        dying.kill()
        time.sleep(1)
        process.terminate()
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
        dying.kill()
    assert process.returncode == 1
    assert "no Kafka broker answers; trying on" in said
    assert said.splitlines()[-1].startswith("error: no end within 10 s of the signal")


def test_rows_that_wait_meet_their_labels_though_the_model_was_trained_anew(
    broker: Broker, names: Names, create_topics: CreateTopics, tmp_path: Path
) -> None:
    create_topics(names.transactions, names.labels)
    settings = consuming.settings(broker.bootstrap, names)
    table = consuming.rows(1_000, seed=6)
    transactions = [orjson.dumps(consuming.transaction(n, table)) for n in range(500)]
    consuming.send_raw(settings, names.transactions, transactions)
    before = consuming.consume(settings, consuming.model(tmp_path / "before"))
    assert (before.rows, before.labelled) == (500, 0)

    labels = [orjson.dumps(consuming.label(n, table, delay_ms=60_000)) for n in range(500)]
    consuming.send_raw(settings, names.labels, labels)
    consuming.send(settings, table, range(500, 1_000), delay_ms=60_000)
    after = consuming.consume(settings, consuming.model(tmp_path / "after", seed=2))

    assert (after.rows, after.labelled) == (500, 1_000)
    assert after.labels == {"matched": 1_000}


def test_an_input_that_is_missing_is_named_and_not_made_where_the_broker_would(
    broker: Broker, names: Names, create_topics: CreateTopics, tmp_path: Path
) -> None:
    create_topics(names.labels)
    settings = consuming.settings(broker.bootstrap, names)
    consuming.model(tmp_path / "model")

    line = commands.refused(*killing.command(settings, tmp_path / "model", "--until-end")[3:])

    assert f"topic {names.transactions!r} does not exist" in line
    assert names.transactions not in connect(admin(settings.kafka), settings.kafka).topics


def test_a_checkpoint_of_another_format_is_refused_in_one_line(
    broker: Broker, names: Names, create_topics: CreateTopics, tmp_path: Path
) -> None:
    create_topics(names.transactions, names.labels)
    settings = consuming.settings(broker.bootstrap, names)
    consuming.send(settings, consuming.rows(500, seed=6), range(500))
    consuming.consume(settings, consuming.model(tmp_path / "model"))
    topic = settings.topic("checkpoints")
    *_, last = (orjson.loads(each.value or b"{}") for each in read_all(settings.kafka, topic))
    consuming.send_raw(settings, topic, [orjson.dumps({**last, "format": 3})])

    line = commands.refused(*killing.command(settings, tmp_path / "model", "--until-end")[3:])

    assert f"{topic}[0]: a checkpoint of format 3, this program reads {restore.FORMAT}." in line
    assert "another application_id" in line
