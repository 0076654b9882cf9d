"""Every kind of message and event is provoked on a real broker and conforms to its schema."""

import json
import time
from pathlib import Path

import orjson
import pytest
import safetensors.torch

from consumer import heal
from consumer.errors import FloodError
from consumer.kafka.record import Record
from consumer.loop import Loop
from consumer.settings import Settings
from tests.broker import Broker, console_consumer
from tests.conftest import CreateTopics, Names
from tests.integration import consuming
from tests.pipelines import ONLY_CONTROLLER, ONLY_HEDGE, ONLY_PEOPLE
from tests.schemas import FOLDER, conforms


def test_every_message_and_event_conforms(
    broker: Broker,
    names: Names,
    create_topics: CreateTopics,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    create_topics(names.transactions, names.labels)
    model = consuming.model(tmp_path / "model")
    file = tmp_path / "threshold_config.json"
    file.write_text(json.dumps({"format": 1, "thresholds": {"health.f1_drop": 0.0}}))
    settings = consuming.settings(broker.bootstrap, names, decision__threshold_config=str(file))
    # A drift that comes and goes, and broken messages among the good ones.
    calm, drifted = consuming.rows(4_000, seed=2), consuming.rows(4_000, seed=2, shift=2.2)
    consuming.send(settings, calm, range(400))
    consuming.send(settings, drifted, range(400, 2_000))
    consuming.send(settings, calm, range(2_000, 4_000))
    consuming.send_raw(settings, names.transactions, [b"not json", None, b"x" * 500_000])
    # Given heals slower than the stream, some requests are replaced before they start.
    step = heal.heal_step

    def slow(*arguments):  # type: ignore[no-untyped-def]
        time.sleep(0.005)
        return step(*arguments)

    monkeypatch.setattr(heal, "heal_step", slow)
    loop = Loop(settings, model, until_end=True)
    loop.run()
    # Heals that make it worse are rolled back.
    monkeypatch.undo()
    worse = consuming.rows(6_000, seed=4, shift=3.5)
    consuming.send(settings, worse, range(4_000, 6_000))
    inline = consuming.settings(broker.bootstrap, names, heal__mode="inline", health__f1_drop=0.0)
    Loop(inline, model, until_end=True).run()

    # And an order that cannot be followed.
    def order(status):  # type: ignore[no-untyped-def]
        file.write_text(json.dumps({"format": 1, "thresholds": {"decision.threshold": 7}}))
        if "thresholds-refused" in consuming.actions(settings):
            last.stop("enough")
        last.reload_thresholds()

    last = Loop(settings, model, on_status=order)
    last.run()
    # And labels that come twice, and a flood of what cannot be read.
    again = [orjson.dumps(consuming.label(number, calm)) for number in range(1_000)]
    consuming.send_raw(settings, names.labels, again)
    Loop(inline, model, until_end=True).run()
    consuming.send_raw(settings, names.transactions, [b"not json"] * 200)
    with pytest.raises(FloodError, match="100 unreadable messages in a row"):
        Loop(inline, model, until_end=True).run()

    for message in consuming.messages(settings, "scores"):
        conforms("score", message)
    for message in consuming.messages(settings, "labelled"):
        conforms("labelled", message)
    for message in consuming.messages(settings, "commands"):
        conforms("command", message)
    for record in consuming.records(settings, "registry"):
        _registry_record_conforms(record)
    for record in consuming.records(settings, "dead-letters"):
        conforms("dead-letter", {name: (v or b"").decode() for name, v in _ours(record)})
    events = consuming.messages(settings, "events")
    for event in events:
        conforms("event", event)

    allowed = json.loads((FOLDER / "event.schema.json").read_text())
    every = allowed["properties"]["event"]["properties"]["action"]["enum"]
    # Of one partition none can be wrong: see test_labels.
    others = {"partitioner-mismatch"}
    others |= ONLY_HEDGE | ONLY_CONTROLLER | ONLY_PEOPLE
    assert {event["event"]["action"] for event in events} == set(every) - others
    assert len({event["event"]["id"] for event in events}) == len(events)
    assert len(consuming.messages(settings, "commands")) == 2


def test_inputs_conform_too(broker: Broker, names: Names, create_topics: CreateTopics) -> None:
    from producer_sim.__main__ import app

    create_topics(names.transactions, names.labels)
    app(
        [
            *("stream", "--scenario", "noise", "--rows", "50", "--bootstrap-servers"),
            *(broker.bootstrap, "--transactions-topic", names.transactions),
            *("--labels-topic", names.labels),
        ],
        standalone_mode=False,
    )
    for topic, kind in ((names.transactions, "transaction"), (names.labels, "label")):
        lines = console_consumer(broker.bootstrap, topic, 50, 30)
        assert len(lines) == 50
        for line in lines:
            conforms(kind, json.loads(line))


def test_kafkas_own_console_consumer_reads_us(
    broker: Broker, names: Names, create_topics: CreateTopics, tmp_path: Path
) -> None:
    create_topics(names.transactions, names.labels)
    settings = consuming.settings(broker.bootstrap, names)
    table = consuming.rows(300, seed=3, shift=2.2)
    consuming.send(settings, table, range(300))
    consuming.consume(settings, consuming.model(tmp_path / "model"))

    scores = console_consumer(broker.bootstrap, settings.topic("scores"), 300, 30)
    assert len(scores) == 300
    for line in scores:
        conforms("score", json.loads(line))
    count = len(consuming.messages(settings, "events"))
    events = console_consumer(broker.bootstrap, settings.topic("events"), count, 30)
    assert len(events) == count > 5
    for line in events:
        conforms("event", json.loads(line))


def _registry_record_conforms(record: Record) -> None:
    key = (record.key or b"").decode()
    if key in ("optimiser", "requests"):  # tensors for our own restart
        assert record.value is None or safetensors.torch.load(record.value)
        return
    assert record.value is not None
    if key.startswith("snapshot/"):
        manifest = json.loads(dict(record.headers)["manifest"] or b"")
        conforms("snapshot-manifest", manifest)
        assert key == f"snapshot/{manifest['version']}"
        assert set(safetensors.torch.load(record.value)) == {
            "adapter.0.weight",
            "adapter.0.bias",
            "adapter.2.weight",
            "adapter.2.bias",
            "scale",
        }
    else:
        assert key == "deployed" or key.startswith("active/")
        conforms("activation", json.loads(record.value))


def _ours(record: Record) -> list[tuple[str, bytes | None]]:
    return [(name, value) for name, value in record.headers if name.startswith("__streams.")]


def test_dead_letter_values_conform(
    broker: Broker, names: Names, create_topics: CreateTopics, tmp_path: Path
) -> None:
    create_topics(names.transactions, names.labels)
    settings: Settings = consuming.settings(broker.bootstrap, names)
    big = b'{"pad":"' + b"x" * 1_000_000 + b'"}'
    consuming.send_raw(settings, names.transactions, [big])
    consuming.consume(settings, consuming.model(tmp_path / "model"))
    (record,) = consuming.records(settings, "dead-letters")
    kept = json.loads(record.value or b"")
    schema = json.loads((FOLDER / "dead-letter.schema.json").read_text())["$defs"]["oversize"]
    assert set(kept) == set(schema["required"])
    assert kept["bytes"] == len(big)
