"""What our own topics give back where things did not go their usual way."""

from pathlib import Path

import orjson
import pytest
import torch
from confluent_kafka import Consumer, TopicPartition

from consumer import encode, restore
from consumer.audit import Wanted, audit
from consumer.kafka import client, membership, topics
from consumer.kafka.client import producer
from consumer.registry import DEPLOYED, InForce, Registry, Snapshot
from consumer.restore import RegistryTopic
from consumer.settings import DAY_MS
from tests.broker import Broker
from tests.conftest import CreateTopics, Names
from tests.integration import consuming

TABLE = consuming.rows(400, seed=13)


def test_a_version_that_is_ordered_long_after_is_read_again_by_who_follows(
    broker: Broker,
    names: Names,
    create_topics: CreateTopics,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(restore, "NEWEST", 2)
    create_topics(names.transactions, names.labels)
    settings = consuming.settings(broker.bootstrap, names)
    model = consuming.model(tmp_path / "model")
    topics.ensure(settings)
    out = producer(settings.kafka)
    registry = Registry(model.manifest.model_version, model.manifest.base_sha256)

    topic = settings.topic("registry")

    def made(number: int) -> Snapshot:
        adapter = {"a": torch.tensor([float(number)])}
        snapshot = registry.snapshot("pool", adapter, parent=None, reason="heal")
        about = [("manifest", encode.manifest(snapshot))]
        out.produce(topic, snapshot.value, key=snapshot.key, partition=0, headers=about)
        return snapshot

    def deploy(snapshot: Snapshot, weight: float) -> None:
        in_force = InForce(snapshot, {"frozen": weight})
        out.produce(topic, orjson.dumps(in_force.record("m")), key=DEPLOYED, partition=0)
        assert out.flush(20) == 0

    every = [made(0)]
    deploy(every[0], 1.0)
    follower = RegistryTopic(settings, model)

    def followed() -> InForce:
        while (found := follower.follow()) is None:
            pass
        return found

    try:
        for number in range(1, 8):
            every.append(made(number))
            deploy(every[-1], 0.5)
            assert followed().version == number + 1
        for _ in range(2):  # and after others were deployed meanwhile, once more
            assert 3 not in follower.snapshots
            deploy(every[2], 0.9)
            found = followed()
            assert (found.version, found.weights) == (3, {"frozen": 0.9})
            assert found.snapshot.adapter["a"].tolist() == [2.0]
            deploy(every[7], 0.5)
            assert followed().version == 8
    finally:
        follower.close()


def test_records_may_bear_another_time_than_their_transactions(
    broker: Broker, names: Names, create_topics: CreateTopics, tmp_path: Path
) -> None:
    create_topics(names.transactions, names.labels)
    settings = consuming.settings(broker.bootstrap, names, heal__policy="hedge")
    model = consuming.model(tmp_path / "model")
    out = producer(settings.kafka)

    def send(numbers: range, *, stamped_ms: int) -> None:
        for number in numbers:
            value = orjson.dumps(consuming.transaction(number, TABLE))
            out.produce(names.transactions, value, partition=0, timestamp=stamped_ms)
        assert out.flush(20) == 0

    send(range(30), stamped_ms=consuming.START_MS - 3 * DAY_MS)
    far = consuming.transaction(999, TABLE) | {"event_time": 4_102_444_800_000}  # 2100
    late = producer(settings.kafka)
    late.produce(names.transactions, orjson.dumps(far), partition=0, timestamp=far["event_time"])
    assert late.flush(20) == 0
    consuming.consume(settings, model)
    # The batch goes on where it was: with 30 rows, and not with the one that was none.
    send(range(30, 150), stamped_ms=consuming.START_MS - 3 * DAY_MS)
    consuming.consume(settings, model)

    found = audit(settings, model, Wanted())
    assert found.unexplained == []
    assert found.checked == 150
    batches = [
        event["reflexive"]["rows"]
        for event in consuming.messages(settings, "events")
        if event["event"]["kind"] == "metric" and "rows" in event["reflexive"]
    ]
    assert batches[:1] == [100]


def test_rows_before_offsets_that_are_set_back_by_hand_wait_on_for_their_labels(
    broker: Broker, names: Names, create_topics: CreateTopics, tmp_path: Path
) -> None:
    create_topics(names.transactions, names.labels)
    settings = consuming.settings(broker.bootstrap, names)
    model = consuming.model(tmp_path / "model")
    values = [orjson.dumps(consuming.transaction(number, TABLE)) for number in range(60)]
    consuming.send_raw(settings, names.transactions, values)
    consuming.consume(settings, model)

    membership.wait_until_forgotten(settings)
    own = {"group.id": names.application_id, "enable.auto.commit": False}
    group = client.build(Consumer, client.properties(settings.kafka, own))
    group.commit(offsets=[TopicPartition(names.transactions, 0, 40)], asynchronous=False)
    group.close()
    told = [orjson.dumps(consuming.label(number, TABLE)) for number in range(60)]
    consuming.send_raw(settings, names.labels, told[:20])
    consuming.consume(settings, model)
    assert [row["offset"] for row in consuming.messages(settings, "labelled")] == [*range(20)]
    # And once more from the checkpoint of now: the changelog of both passes is read.
    consuming.send_raw(settings, names.labels, told[20:])
    consuming.consume(settings, model)

    labelled = consuming.messages(settings, "labelled")
    assert [row["offset"] for row in labelled] == [*range(60)]
    offsets = [score["offset"] for score in consuming.messages(settings, "scores")]
    assert offsets == [*range(60), *range(40, 60)]
