"""Two replicas under load: partitions move, the healer is killed, and every record counts once."""

from pathlib import Path

from tests.broker import Broker
from tests.conftest import CreateTopics, Names
from tests.integration import replicas

# Some 15,000 rows go by in all.
ROWS_S = 500


def test_partitions_move_and_every_record_counts_once(
    broker: Broker, names: Names, create_topics: CreateTopics, tmp_path: Path
) -> None:
    with replicas.two_replicas(
        broker.bootstrap, names, create_topics, tmp_path, rows_s=ROWS_S
    ) as pair:
        replicas.wait_for_following(pair)
        healer, follower, _ = pair.roles()
        healer.kill()
        replicas.wait_for_owners(pair.settings, follower)
        healer.start()
        replicas.wait_for_owners(pair.settings, healer, follower)
        replicas.wait_for_following(pair)
        pair.end()
