"""Dead letters listed, shown and replayed: each repaired record is scored once, however often."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from consumer.errors import FencedError
from consumer.kafka.client import producer
from consumer.kafka.reader import read_all
from consumer.kafka.record import Record
from consumer.kafka.replay import Replay
from consumer.kafka.sink import Sink
from consumer.model_directory import Model
from consumer.settings import Settings
from tests.broker import Broker
from tests.conftest import CreateTopics, Names
from tests.integration import consuming
from tests.integration.commands import Ended, refused, run

TABLE = consuming.rows(50, seed=21)
# Settings under which `lacking` can be read.
MENDED = ["--set", 'input.transactions.feature_paths={V14="score"}']


@pytest.fixture
def settings(broker: Broker, names: Names, create_topics: CreateTopics) -> Settings:
    create_topics(names.transactions, names.labels, partitions=2)
    return consuming.settings(broker.bootstrap, names)


def flags(settings: Settings) -> list[str]:
    return [
        *("--bootstrap-servers", settings.kafka.bootstrap_servers),
        *("--application-id", settings.application_id),
    ]


def replay(settings: Settings, folder: Path, *more: str) -> Ended:
    return run(
        *("dead-letters", "replay", "--model", str(folder / "model"), *flags(settings)),
        *("--transactions-topic", settings.input.transactions.topic),
        *("--labels-topic", settings.input.labels.topic),
        *more,
    )


def done(ended: Ended) -> str:
    assert (ended.status, ended.error) == (0, [])
    return ended.out[0]


def lacking(number: int) -> bytes:
    """A transaction whose V14 is called score."""
    message: dict[str, Any] = consuming.transaction(number, TABLE)
    message["score"] = message["features"].pop("V14")
    return orjson.dumps(message)


def large(number: int, bytes_: int = 400_000) -> bytes:
    """A good transaction with much besides, above the default limit of 262,144 bytes."""
    return orjson.dumps(consuming.transaction(number, TABLE) | {"pad": "x" * bytes_})


def scored(settings: Settings) -> Counter[str]:
    return Counter(score["transaction_id"] for score in consuming.messages(settings, "scores"))


def replayed(settings: Settings, topic: str) -> list[Record]:
    return [
        record
        for record in read_all(settings.kafka, topic)
        if "reflexive.replayed-from" in dict(record.headers)
    ]


def test_they_are_replayed_in_a_transaction_where_the_consumer_has_none(
    settings: Settings, model: Model, folder: Path
) -> None:
    topic = settings.input.transactions.topic
    consuming.send_raw(settings, topic, [lacking(0), lacking(1)])
    consuming.consume(settings.model_copy(update={"delivery": "at_least_once"}), model)

    at_least_once = ("--set", "delivery=at_least_once")
    assert done(replay(settings, folder, *MENDED, *at_least_once)) == (
        "2 replayed, 0 already replayed before, 0 still unreadable, 0 gone"
    )
    assert len(replayed(settings, topic)) == 2


def test_they_are_counted_listed_and_shown(settings: Settings, model: Model) -> None:
    topic = settings.input.transactions.topic
    bad = [b"\xff\xfe{", b"[1]", lacking(1), None, large(2)]
    consuming.send_raw(settings, topic, [orjson.dumps(consuming.transaction(0, TABLE)), *bad])
    consuming.send_raw(settings, settings.input.labels.topic, [b"{}"])
    consuming.consume(settings, model)

    out = run("dead-letters", "list", "--limit", "2", "--topic", topic, *flags(settings)).out
    counts = [line.split()[:3] for line in out[:4]]
    assert counts == [
        ["2", "InvalidJson", f"{topic}[0]"],
        ["1", "MissingFeature", f"{topic}[0]"],
        ["1", "Tombstone", f"{topic}[0]"],
        ["1", "TooLarge", f"{topic}[0]"],
    ]
    assert out[4].strip() == "5 in all, the newest 2:"
    assert out[5].startswith(f"{topic}/0/5  TooLarge  ")
    assert out[6] == f"{topic}/0/4  Tombstone  the message has no value"
    assert len(out) == 7

    ended = run("dead-letters", "list", "--json", "--kind", "InvalidJson", *flags(settings))
    count, *letters = [json.loads(line) for line in ended.out]
    assert count["count"] == 2
    assert count["first_at"] <= count["last_at"]
    assert [(one["topic"], one["partition"], one["offset"]) for one in letters] == [
        (topic, 0, 2),
        (topic, 0, 1),
    ]
    assert letters[0]["value"] == "[1]"
    assert len(run("dead-letters", "list", "--limit", "0", *flags(settings)).out) == 6

    out = run("dead-letters", "show", f"{topic}/0/1", *flags(settings)).out
    assert out[:3] == [f"record    {topic}/0/1", "kind      InvalidJson", out[2]]
    assert out[4:] == ["key       raw-1", "header    trace: abc", "value     0xfffe7b"]
    out = run("dead-letters", "show", f"{topic}/0/3", *flags(settings)).out
    assert out[-1] == f"value     {lacking(1).decode()}"
    out = run("dead-letters", "show", f"{topic}/0/5", *flags(settings)).out
    assert f"too large to be kept: {len(large(2)):,} bytes, sha256" in out[-1]
    shown = json.loads(
        "".join(run("dead-letters", "show", f"{topic}/0/4", "--json", *flags(settings)).out)
    )
    assert (shown["kind"], shown["value"]) == ("Tombstone", None)


def test_what_the_settings_now_read_is_replayed_and_scored_once(
    settings: Settings, model: Model, folder: Path
) -> None:
    topic, labels = settings.input.transactions.topic, settings.input.labels.topic
    consuming.send_raw(settings, topic, [lacking(0), b"never JSON", lacking(1), None, large(2)])
    label = orjson.dumps({**consuming.label(0, TABLE), "is_fraud": None, "fraud": 1})
    consuming.send_raw(settings, labels, [label])
    consuming.consume(settings, model)
    assert not scored(settings)

    mended = [*MENDED, "--set", "input.labels.label_path=fraud"]
    assert done(replay(settings, folder)) == (
        "0 replayed, 0 already replayed before, 6 still unreadable "
        "(1 InvalidJson, 1 InvalidLabel, 2 MissingFeature, 1 Tombstone, 1 TooLarge), 0 gone"
    )
    said = done(replay(settings, folder, "--dry-run", *mended))
    assert said.startswith("3 would be replayed, 0 already")
    assert replayed(settings, topic) == []

    place = ["--place", f"{topic}/0/2"]
    assert done(replay(settings, folder, *mended, *place)).startswith("1 replayed, 0 already")
    assert done(replay(settings, folder, *mended)) == (
        "2 replayed, 1 already replayed before, 3 still unreadable "
        "(1 InvalidJson, 1 Tombstone, 1 TooLarge), 0 gone"
    )
    assert done(replay(settings, folder, *mended)).startswith("0 replayed, 3 already replayed")

    first, second = sorted(replayed(settings, topic), key=lambda record: record.key or b"")
    assert (first.key, first.value) == (b"raw-0", lacking(0))
    assert (second.key, second.value) == (b"raw-2", lacking(1))
    assert second.headers == [
        ("trace", b"abc"),
        ("reflexive.replayed-from", f"{topic}/0/2".encode()),
    ]
    (again,) = replayed(settings, labels)
    assert (again.key, again.value) == (b"raw-0", label)

    now = consuming.settings(
        settings.kafka.bootstrap_servers,
        Names(settings.application_id, topic, labels),
        input__transactions__feature_paths={"V14": "score"},
        input__labels__label_path="fraud",
    )
    consuming.consume(now, model)
    assert scored(settings) == {"t-000000": 1, "t-000001": 1}
    assert done(replay(settings, folder, *mended)).startswith("0 replayed, 3 already replayed")
    consuming.consume(now, model)
    assert scored(settings) == {"t-000000": 1, "t-000001": 1}


def test_a_key_decides_the_partition_and_without_one_it_stays(
    settings: Settings, model: Model, folder: Path
) -> None:
    topic = settings.input.transactions.topic
    out = producer(settings.kafka)
    keys: list[str | None] = [*(f"key-{number}" for number in range(8)), None]
    for number, key in enumerate(keys):
        out.produce(topic, lacking(number), key=key, partition=1)
    assert out.flush(20) == 0
    consuming.consume(settings, model)
    said = done(replay(settings, folder, *MENDED))
    assert said.startswith("9 replayed")
    for key in keys:
        out.produce(topic, b"where does it belong?", key=key, partition=-1 if key else 1)
    assert out.flush(20) == 0
    records = list(read_all(settings.kafka, topic))
    belongs = {one.key: one.partition for one in records if one.value == b"where does it belong?"}
    found = {one.key: one.partition for one in replayed(settings, topic)}
    assert found == belongs
    assert set(found.values()) == {0, 1}


def test_a_program_repairs_values_and_what_it_refuses_is_left(
    settings: Settings, model: Model, folder: Path
) -> None:
    topic = settings.input.transactions.topic
    consuming.send_raw(settings, topic, [lacking(0), b"never JSON", lacking(1)])
    consuming.consume(settings, model)
    program = folder / "mend it.py"
    program.write_text(
        "import json, sys\n"
        "try:\n"
        "    message = json.load(sys.stdin)\n"
        "except ValueError:\n"
        "    sys.exit(1)\n"
        "message['features']['V14'] = message.pop('score')\n"
        "json.dump(message, sys.stdout)\n"
    )
    repair = ["--repair", f"{sys.executable} '{program}'"]
    assert done(replay(settings, folder, *repair)) == (
        "2 replayed, 0 already replayed before, 1 still unreadable (1 InvalidJson), 0 gone"
    )
    assert done(replay(settings, folder, *repair)).startswith("0 replayed, 2 already replayed")
    consuming.consume(settings, model)
    assert scored(settings) == {"t-000000": 1, "t-000001": 1}
    assert len(consuming.records(settings, "dead-letters")) == 3


def test_a_large_value_comes_from_its_topic_while_it_is_there(
    settings: Settings, model: Model, folder: Path
) -> None:
    topic = settings.input.transactions.topic
    consuming.send_raw(settings, topic, [large(0), large(1), large(2, 1_500_000)])
    consuming.consume(settings, model)
    admin = AdminClient({"bootstrap.servers": settings.kafka.bootstrap_servers})
    for deleted in admin.delete_records([TopicPartition(topic, 0, 1)]).values():
        deleted.result()
    limit = ["--set", "input.max_message_bytes=500000"]
    assert done(replay(settings, folder, *limit)) == (
        "1 replayed, 0 already replayed before, 1 still unreadable (1 TooLarge), 1 gone"
    )
    (again,) = replayed(settings, topic)
    assert again.value == large(1)
    now = consuming.settings(
        settings.kafka.bootstrap_servers,
        Names(settings.application_id, topic, settings.input.labels.topic),
        input__max_message_bytes=500_000,
    )
    consuming.consume(now, model)
    assert scored(settings) == {"t-000001": 1}

    limit = ["--set", "input.max_message_bytes=2000000"]  # beyond librdkafka's own 1,000,000
    assert done(replay(settings, folder, *limit)) == (
        "1 replayed, 1 already replayed before, 0 still unreadable, 1 gone"
    )
    assert large(2, 1_500_000) in [record.value for record in replayed(settings, topic)]


def test_a_replay_that_fails_again_is_not_replayed_in_a_loop(
    settings: Settings, model: Model, folder: Path
) -> None:
    topic = settings.input.transactions.topic
    consuming.send_raw(settings, topic, [lacking(0)])
    consuming.consume(settings, model)
    touch = ["--repair", """sed 's/^{/{"touched":1,/'"""]
    assert done(replay(settings, folder, *MENDED, *touch)).startswith("1 replayed")
    consuming.consume(settings, model)  # its settings are still the old ones
    letters = consuming.records(settings, "dead-letters")  # of two partitions
    first, second = sorted(letters, key=lambda record: record.timestamp_ms)
    origin = f"{topic}/0/0"
    assert dict(second.headers)["reflexive.replayed-from"] == origin.encode()
    ended = replay(settings, folder, *MENDED)
    assert done(ended).startswith("0 replayed, 1 already replayed before, 0 still")
    assert ended.out[1] == "1 of those before failed again; --again replays them"
    assert done(replay(settings, folder, *MENDED, "--again")).startswith("1 replayed")
    assert done(replay(settings, folder, *MENDED, "--again")).startswith("0 replayed, 1 already")
    touched = lacking(0).replace(b"{", b'{"touched":1,', 1)
    found = sorted(replayed(settings, topic), key=lambda record: record.timestamp_ms)
    assert [dict(one.headers)["reflexive.replayed-from"] for one in found] == [origin.encode()] * 2
    assert [second.value, *(one.value for one in found)] == [touched, touched, first.value]


def test_of_two_replays_at_once_the_newer_fences_the_older(
    settings: Settings, model: Model, folder: Path
) -> None:
    topic = settings.input.transactions.topic
    consuming.send_raw(settings, topic, [lacking(0)])
    consuming.consume(settings, model)
    (record,) = read_all(settings.kafka, topic)
    of_the_consumer = Sink(settings)
    of_the_consumer.begin()
    of_the_consumer.produce(settings.topic("events"), "an event", b"{}")
    with Replay(settings) as older:
        said = done(replay(settings, folder, *MENDED))
        assert said.startswith("1 replayed")
        with pytest.raises(FencedError, match="another replay"):
            older.produce([record])
    of_the_consumer.commit([], None)  # it is no replay
    of_the_consumer.abort()
    assert len(list(read_all(settings.kafka, topic))) == 2


def test_mistakes_are_one_line(settings: Settings, model: Model, folder: Path) -> None:
    topic = settings.input.transactions.topic
    said = refused("dead-letters", "list", *flags(settings))
    assert f"topic '{settings.application_id}.dead-letters' does not exist" in said
    assert "Start `python -m consumer run`" in said
    consuming.send_raw(settings, topic, [lacking(0)])
    consuming.consume(settings, model)
    out = producer(settings.kafka)
    out.produce(settings.topic("dead-letters"), b"somebody else's")
    assert out.flush(20) == 0
    ended = run("dead-letters", "list", *flags(settings))
    assert ended.status == 0
    assert ended.error == [
        f"warning: 1 records of {settings.topic('dead-letters')} lack our headers"
    ]

    assert "expected TOPIC/PARTITION/OFFSET" in refused("dead-letters", "show", "transactions")
    missing = f"{topic}/0/77"
    said = refused("dead-letters", "show", missing, *flags(settings))
    assert f"no dead letter of {missing}" in said
    inputs = ["--transactions-topic", topic, "--labels-topic", settings.input.labels.topic]
    given = ["dead-letters", "replay", *inputs, *flags(settings)]
    with_model = [*given, "--model", str(folder / "model")]
    assert "no model: name a model directory" in refused(*given)
    assert f"no dead letter of {missing}" in refused(*with_model, "--place", missing)
    assert "--topic 'elsewhere': the input topics are" in refused(
        *with_model, "--topic", "elsewhere"
    )
    assert "--repair nowhere-to-be-found:" in refused(
        *with_model, "--repair", "nowhere-to-be-found"
    )
    assert "--repair names no program" in refused(*with_model, "--repair", "")
    nobody = ["--bootstrap-servers", "127.0.0.1:1", "--set", "kafka.connect_timeout_s=1"]
    assert "no Kafka broker answers" in refused("dead-letters", "list", *nobody)
