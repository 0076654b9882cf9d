"""Two replicas under load: partitions move, one is killed, and every record counts once."""

from pathlib import Path

from consumer.audit import Wanted, audit
from tests.broker import Broker
from tests.conftest import CreateTopics, Names
from tests.integration import consuming, replicas
from tests.integration.replicas import Feed, Replica

# A drift every 3,000 rows: some 20,000 rows go by in all.
TABLE = consuming.drifting(3_000, seed=31)
ROWS_S = 500
# No heal is rolled back, so that the last one is what the other replica has to follow.
DEPLOYED = {"health__f1_drop": 1.0, "health__accuracy_drop": 1.0}
PARTITIONS = 4


def test_partitions_move_and_every_record_counts_once(
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
            owners = replicas.owners(settings)
            healer, follower = (one, two) if owners[0] == one.name else (two, one)
            theirs = [number for number, name in owners.items() if name == follower.name]
            replicas.wait_for_following(settings, healer, theirs)

            healer.kill()
            replicas.wait_for_owners(settings, PARTITIONS, follower)
            healer.start()
            replicas.wait_for_owners(settings, PARTITIONS, one, two)
            readable = feed.end()
            replicas.wait_for(lambda: len(consuming.records(settings, "labelled")) >= len(readable))
            one.stop()
            two.stop()

    replicas.assert_nothing_lost(settings, readable, PARTITIONS)
    checked = audit(settings, model, Wanted())
    assert (checked.checked, checked.unexplained) == (len(readable), [])
