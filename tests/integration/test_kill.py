"""Killed at every named place and at random moments, with and without its disk: nothing differs."""

from pathlib import Path

import pytest

from consumer.audit import Wanted, audit
from consumer.loop import Loop
from tests.broker import Broker
from tests.conftest import CreateTopics, Names
from tests.integration import consuming, killing

ROWS = 20_000
DELAY_MS = 60_000  # 600 rows late


def test_killed_again_and_again_it_decides_what_it_would_have_decided(
    broker: Broker, names: Names, create_topics: CreateTopics, tmp_path: Path
) -> None:
    create_topics(names.transactions, names.labels, partitions=2)
    model = consuming.model(tmp_path / "model")
    given = {"heal__mode": "inline"}
    killed = consuming.settings(broker.bootstrap, names, **given)
    left_alone = consuming.settings(
        broker.bootstrap, names, application_id=f"{names.application_id}-alone", **given
    )
    table = consuming.drifting(ROWS, seed=21)
    for partition in (0, 1):
        numbers = range(partition * ROWS // 2, (partition + 1) * ROWS // 2)
        consuming.send(killed, table, numbers, partition=partition, delay_ms=DELAY_MS)

    alone = Loop(left_alone, model, until_end=True).run()
    found = killing.run_and_kill(
        killed, tmp_path / "model", tmp_path, points=killing.FAILPOINTS, moments=2, stops=3, seed=4
    )

    assert sorted(found.proven) == sorted(point.split(":")[0] for point in killing.FAILPOINTS)
    assert found.deaths >= len(killing.FAILPOINTS)
    assert alone.heals > 5
    assert_same(killed, left_alone, rows=ROWS, partitions=2)
    checked = audit(killed, model, Wanted())
    assert (checked.checked, checked.unexplained) == (ROWS, [])


def assert_same(killed, left_alone, *, rows, partitions):  # type: ignore[no-untyped-def]
    """The whole output of the one is that of the other."""
    scores, expected = killing.scores(killed), killing.scores(left_alone)
    per_partition = rows // partitions
    assert sorted(expected) == [(p, o) for p in range(partitions) for o in range(per_partition)]
    assert sorted(scores) == sorted(expected)
    assert {len(found) for found in scores.values()} == {1}
    for place, (one,) in scores.items():
        (other,) = expected[place]
        for name in ("score", "shadow_score"):
            assert one.pop(name) == pytest.approx(other.pop(name), abs=1e-6)
        assert one == other
    assert killing.decisions(killed) == killing.decisions(left_alone)
    assert killing.labelled(killed) == killing.labelled(left_alone)
    for partition in range(partitions):
        one, other = (killing.checkpoint(s, partition) for s in (killed, left_alone))
        assert one == other
