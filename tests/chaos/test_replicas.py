"""Two replicas under load, started, stopped and killed in turn: every record counts once.

Run with `make chaos`.
"""

from pathlib import Path

import pytest

from tests.broker import Broker
from tests.conftest import CreateTopics, Names
from tests.integration import replicas

pytestmark = pytest.mark.chaos

ROWS_S = 300
# A round of moves takes about a minute.
ROUNDS = 2


def test_partitions_move_back_and_forth(
    broker: Broker, names: Names, create_topics: CreateTopics, tmp_path: Path
) -> None:
    with replicas.two_replicas(
        broker.bootstrap, names, create_topics, tmp_path, rows_s=ROWS_S
    ) as pair:
        one, two = pair.one, pair.two
        for _ in range(ROUNDS):
            for gone, stays in ((one, two), (two, one)):
                for end in (gone.kill, gone.stop):
                    end()
                    replicas.wait_for_owners(pair.settings, stays)
                    gone.start()
                    replicas.wait_for_owners(pair.settings, one, two)
                gone.restart()
                replicas.wait_for_owners(pair.settings, one, two)
                replicas.wait_for_deployed(pair.settings)
        rows = pair.end()

    heals = [len(replica.said("heal-deployed")) for replica in (one, two)]
    print(f"{rows} rows, {heals[0]} and {heals[1]} heals")
    assert all(heals)
