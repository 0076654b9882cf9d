"""The broker goes away under load, or the process is held up: it goes on by itself."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from consumer.audit import Wanted, audit
from consumer.kafka.source import SESSION_MS
from consumer.settings import Settings
from tests.broker import Broker, real_broker
from tests.conftest import Names
from tests.integration import consuming, outcomes, replicas
from tests.integration.replicas import PARTITIONS, Feed, Replica

ROWS_S = 200
AWAY_S = 8
SILENT_S = SESSION_MS // 1000 + 3
# So many commits that the broker goes in the middle of one.
OFTEN = ("--set", "commit.interval_ms=1")


@pytest.fixture(scope="module")
def own_broker() -> Iterator[Broker]:
    """One to stop and to kill."""
    with real_broker() as running:
        yield running


def create_inputs(settings: Settings) -> None:
    admin = AdminClient({"bootstrap.servers": settings.kafka.bootstrap_servers})
    names = settings.input.transactions.topic, settings.input.labels.topic
    for made in admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names]).values():
        made.result()


def scored(settings: Settings) -> int:
    try:
        return sum(outcomes.ends(settings, settings.topic("scores")))
    except (KafkaException, KeyError):
        return 0  # the topic is about to be made, or its leader to come back


def wait_for_scored(settings: Settings, more_than: int) -> None:
    replicas.wait_for(lambda: scored(settings) > more_than)


def joined(settings: Settings) -> set[str]:
    return {row["transaction_id"] for row in consuming.messages(settings, "labelled")}


def test_it_rides_out_a_broker_that_is_killed_and_one_that_is_stopped(
    own_broker: Broker, names: Names, tmp_path: Path
) -> None:
    settings = consuming.settings(own_broker.bootstrap, names)
    model = consuming.model(tmp_path / "model")
    create_inputs(settings)
    feed = Feed(settings, ROWS_S)
    with Replica(settings, tmp_path / "model", tmp_path, *OFTEN) as one:
        feed.start()
        wait_for_scored(settings, 0)
        for end in (own_broker.kill, own_broker.stop):
            before = scored(settings)
            end()
            time.sleep(AWAY_S)
            own_broker.start()
            wait_for_scored(settings, before + AWAY_S * ROWS_S)
        readable = feed.end()
        replicas.wait_for(lambda: len(consuming.records(settings, "labelled")) >= len(readable))
        assert one.stop() == 0
    replicas.assert_nothing_lost(settings, readable)
    checked = audit(settings, model, Wanted())
    assert (checked.checked, checked.unexplained) == (len(readable), [])


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_given_up_by_the_group_it_comes_back(
    own_broker: Broker, names: Names, tmp_path: Path, delivery: str
) -> None:
    settings = consuming.settings(own_broker.bootstrap, names)
    consuming.model(tmp_path / "model")
    create_inputs(settings)
    feed = Feed(settings, ROWS_S)
    given = (*OFTEN, "--set", f"delivery={delivery}")
    with Replica(settings, tmp_path / "model", tmp_path, *given) as one:
        feed.start()
        wait_for_scored(settings, 0)
        before = scored(settings)
        one.signal(signal.SIGSTOP)
        time.sleep(SILENT_S)
        assert replicas.owners(settings) == {}
        one.signal(signal.SIGCONT)
        wait_for_scored(settings, before + SILENT_S * ROWS_S)
        readable = feed.end()
        replicas.wait_for(lambda: joined(settings) == set(readable))
        one.stop()
    if delivery == "at_least_once":
        found = outcomes.of_transactions(settings)
        assert found.keys() == outcomes.inputs(settings, names.transactions).keys()
    else:
        replicas.assert_nothing_lost(settings, readable)
