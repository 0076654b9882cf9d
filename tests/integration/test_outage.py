"""The broker goes away under load, twice: the same process goes on, and nothing is lost or doubled.

A broker of its own, to stop and to kill.
"""

import time
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from consumer.audit import Wanted, audit
from tests.broker import real_broker
from tests.conftest import Names
from tests.integration import consuming, outcomes, replicas
from tests.integration.replicas import Feed, Replica

PARTITIONS = 2
ROWS_S = 200.0
AWAY_S = 8.0
# Many commits, so that the broker goes in one.
OFTEN = ("--set", "commit.interval_ms=1")


def test_it_rides_out_a_broker_that_is_killed_and_one_that_is_stopped(
    names: Names, tmp_path: Path
) -> None:
    with real_broker() as broker:
        settings = consuming.settings(broker.bootstrap, names)
        model = consuming.model(tmp_path / "model")
        admin = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})
        inputs = [NewTopic(topic, PARTITIONS, 1) for topic in (names.transactions, names.labels)]
        for made in admin.create_topics(inputs).values():
            made.result()

        def scored() -> int:
            try:
                return sum(outcomes.ends(settings, settings.topic("scores")))
            except (KafkaException, KeyError):
                return 0  # the topic is about to be made, or its leader to come back

        def goes_on() -> None:
            before = scored()
            replicas.wait_for(lambda: scored() > before + ROWS_S)

        feed = Feed(settings, consuming.rows(2_000, seed=31), PARTITIONS, ROWS_S)
        with Replica(settings, tmp_path / "model", tmp_path, *OFTEN) as one:
            feed.start()
            goes_on()
            for end in (broker.kill, broker.stop):
                end()
                time.sleep(AWAY_S)
                broker.start()
                goes_on()
            readable = feed.end()
            replicas.wait_for(lambda: len(consuming.records(settings, "labelled")) >= len(readable))
            one.stop()

        replicas.assert_nothing_lost(settings, readable, PARTITIONS)
        checked = audit(settings, model, Wanted())
        assert (checked.checked, checked.unexplained) == (len(readable), [])
