"""Two replicas under load, started, stopped and killed in turn: every record counts once.

Run with `make chaos`.
"""

from pathlib import Path

import pytest

from consumer.audit import Wanted, audit
from tests.broker import Broker
from tests.conftest import CreateTopics, Names
from tests.integration import consuming, replicas
from tests.integration.replicas import Feed, Replica

pytestmark = pytest.mark.chaos

PARTITIONS = 4
# A drift every 3,000 rows; a round of moves takes about a minute.
TABLE = consuming.drifting(3_000, seed=41)
ROWS_S = 300
ROUNDS = 2
# No heal is rolled back, so that the last one is what the other replica has to follow.
DEPLOYED = {"health__f1_drop": 1.0, "health__accuracy_drop": 1.0}


def test_partitions_move_back_and_forth(
    broker: Broker, names: Names, create_topics: CreateTopics, tmp_path: Path
) -> None:
    create_topics(names.transactions, names.labels, partitions=PARTITIONS)
    settings, other = (
        consuming.settings(broker.bootstrap, names, instance_id=number, **DEPLOYED)
        for number in ("0", "1")
    )
    model = consuming.model(tmp_path / "model")
    feed = Feed(settings, TABLE, PARTITIONS, ROWS_S)
    one = Replica(settings, tmp_path / "model", tmp_path)
    two = Replica(other, tmp_path / "model", tmp_path)
    with one:
        replicas.wait_for_owners(settings, PARTITIONS, one)
        feed.start()
        with two:
            replicas.wait_for_owners(settings, PARTITIONS, one, two)
            for _ in range(ROUNDS):
                for gone, stays in ((one, two), (two, one)):
                    for end in (gone.kill, gone.stop):
                        end()
                        replicas.wait_for_owners(settings, PARTITIONS, stays)
                        gone.start()
                        replicas.wait_for_owners(settings, PARTITIONS, one, two)
                    gone.restart()
                    replicas.wait_for_owners(settings, PARTITIONS, one, two)
                    replicas.wait_for_deployed(settings, list(range(PARTITIONS)))
            readable = feed.end()
            replicas.wait_for(lambda: len(consuming.records(settings, "labelled")) >= len(readable))
            one.stop()
            two.stop()

    print(
        f"{len(readable)} rows, {len(one.said('heal-deployed'))} and "
        f"{len(two.said('heal-deployed'))} heals"
    )
    assert one.said("heal-deployed") or two.said("heal-deployed")
    replicas.assert_nothing_lost(settings, readable, PARTITIONS)
    checked = audit(settings, model, Wanted())
    assert (checked.checked, checked.unexplained) == (len(readable), [])
