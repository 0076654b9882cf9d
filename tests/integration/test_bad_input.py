"""What cannot be read goes to the dead letters with its place and reason; the rest is scored."""

import json
from pathlib import Path

import orjson
import pytest

from consumer.model_directory import Model
from tests.broker import Broker
from tests.conftest import CreateTopics, Names
from tests.integration import consuming


def test_each_bad_message_is_a_dead_letter_and_the_rest_is_scored(
    broker: Broker, names: Names, create_topics: CreateTopics, tmp_path: Path
) -> None:
    create_topics(names.transactions, names.labels)
    settings = consuming.settings(broker.bootstrap, names)
    table = consuming.rows(200, seed=6)
    good = [orjson.dumps(consuming.transaction(number, table)) for number in range(200)]

    def broken(**features: object) -> bytes:
        message = consuming.transaction(0, table)
        message["features"] |= features
        return json.dumps(message).encode()

    lacking = consuming.transaction(0, table)
    del lacking["features"]["V14"]
    bad: dict[str, bytes | None] = {
        "no JSON": b"\xff\xfe{",
        "not an object": b"[1, 2]",
        "lacks a feature": orjson.dumps(lacking),
        "NaN": broken(V14=float("nan")),
        "Infinity": broken(V14=float("inf")),
        "a string": broken(V14="1.5"),
        "too large for float32": broken(V14=1e300),
        "1 MB": b'{"pad":"' + b"x" * 1_000_000 + b'"}',
        "tombstone": None,
        "in 1970": orjson.dumps(consuming.transaction(0, table) | {"event_time": 1_000}),
        "no id": orjson.dumps(consuming.transaction(0, table) | {"transaction_id": 7}),
    }
    values: list[bytes | None] = []
    for number, value in enumerate(bad.values()):
        values += [*good[number * 10 : number * 10 + 10], value]
    values += good[len(bad) * 10 :]
    consuming.send_raw(settings, names.transactions, values)
    consuming.send_raw(settings, names.labels, [b"{}", b'{"transaction_id": "t-000001"}'])

    status = consuming.consume(settings, consuming.model(tmp_path / "model"))

    assert status.rows == 200
    scored = {score["offset"] for score in consuming.messages(settings, "scores")}
    letters = [
        record
        for record in consuming.records(settings, "dead-letters")
        if dict(record.headers)["__streams.errors.topic"] == names.transactions.encode()
    ]
    dead = {int(dict(record.headers)["__streams.errors.offset"] or b"") for record in letters}
    assert scored | dead == set(range(len(values)))
    assert not scored & dead
    kinds = [
        (dict(record.headers)["__streams.errors.exception"] or b"").decode() for record in letters
    ]
    assert kinds == [
        *("InvalidJson", "InvalidJson", "MissingFeature", "InvalidJson", "InvalidJson"),
        *("NotANumber", "NotFinite", "TooLarge", "Tombstone", "ImplausibleTime", "MissingId"),
    ]
    for record, value in zip(letters, bad.values(), strict=True):
        headers = dict(record.headers)
        assert headers["trace"] == b"abc"  # the headers received stay
        assert headers["__streams.errors.message"]
        if value is None or len(value) < 1_000:
            assert record.value == value
    assert status.dead_letters == len(bad) + 2
    first, last = [
        sum(e["reflexive"]["counts"].values())
        for e in consuming.messages(settings, "events")
        if e["event"]["action"] == "dead-letters" and e["reflexive"]["topic"] == names.transactions
    ]
    assert (first, last) == (1, len(bad))  # said at once, and how many it came to


@pytest.mark.parametrize("mode", ["inline", "threaded"])
def test_broken_ones_at_the_end_of_a_quiet_topic_wait_for_nothing(
    broker: Broker, names: Names, create_topics: CreateTopics, model: Model, mode: str
) -> None:
    create_topics(names.transactions, names.labels, partitions=2)
    settings = consuming.settings(broker.bootstrap, names, heal__mode=mode)
    consuming.send(settings, consuming.rows(150, seed=7), range(150))
    consuming.send_raw(settings, names.transactions, [b"{}"])
    consuming.send_raw(settings, names.labels, [b"{}"])
    consuming.send_raw(settings, names.labels, [b"{}"], partition=1)

    status = consuming.consume_until(
        settings, model, lambda now: (now.labelled, now.dead_letters) == (150, 3)
    )

    assert status.lag == {names.transactions: 0, names.labels: 0}
    assert len(consuming.records(settings, "dead-letters")) == 3
    assert consuming.actions(settings).count("dead-letters") == 3


def test_another_teams_json_is_mapped_by_settings(
    broker: Broker, names: Names, create_topics: CreateTopics, tmp_path: Path
) -> None:
    create_topics(names.transactions, names.labels)
    file = tmp_path / "reflexive.toml"
    file.write_text(
        f"""
        application_id = "{names.application_id}"
        [kafka]
        bootstrap_servers = "{broker.bootstrap}"
        [input.transactions]
        topic = "{names.transactions}"
        id_path = "payment.ref"
        time_path = "payment.at"
        time_format = "epoch_s"
        features_path = "risk"
        feature_paths = {{ V14 = "device.score.v14" }}
        [input.labels]
        topic = "{names.labels}"
        id_path = "ref"
        label_path = "outcome.fraud"
        time_path = "outcome.at"
        time_format = "iso8601"
        source_path = "outcome.by"
        """
    )
    from consumer.settings import load

    settings = load(file)
    consuming.send_raw(
        settings,
        names.transactions,
        [
            b'{"payment":{"ref":"a","at":1767225600.5},"risk":{"V1":1,"V3":2},'
            b'"device":{"score":{"v14":-3}}}',
            b'{"payment":{"ref":"b","at":1767225601},"risk":{"V1":1,"V3":2},'
            b'"device":{"score":{"v14":"-3"}}}',
        ],
    )
    consuming.send_raw(
        settings,
        names.labels,
        [b'{"ref":"a","outcome":{"fraud":true,"at":"2026-01-08T01:00:00+01:00","by":"analyst"}}'],
    )
    consuming.consume(settings, consuming.model(tmp_path / "model"))
    (row,) = consuming.messages(settings, "labelled")
    assert row["transaction_id"] == "a"
    assert row["event_time"] == 1_767_225_600_500
    assert row["features"] == {"V1": 1.0, "V14": -3.0, "V3": 2.0}
    assert row["labelled_at"] == 1_767_830_400_000
    assert (row["is_fraud"], row["source"]) == (1, "analyst")
    (letter,) = consuming.records(settings, "dead-letters")
    reason = dict(letter.headers)["__streams.errors.message"]
    assert reason == b"device.score.v14 is '-3', not a number"
