"""Killed at every named place and at random moments, with and without its disk: nothing differs."""

from pathlib import Path

import pytest

from consumer import audit_events
from consumer.audit import Wanted, audit
from consumer.loop import Loop
from tests.broker import Broker
from tests.conftest import CreateTopics, Names
from tests.integration import consuming, killing, outcomes

ROWS = {"paper": 20_000, "hedge": 6_000}
DELAY_MS = 60_000  # 600 rows late


@pytest.mark.parametrize("policy", ["paper", "hedge"])
def test_killed_again_and_again_it_decides_what_it_would_have_decided(
    broker: Broker, names: Names, create_topics: CreateTopics, tmp_path: Path, policy: str
) -> None:
    rows = ROWS[policy]
    create_topics(names.transactions, names.labels, partitions=2)
    model = consuming.model(tmp_path / "model")
    given = {"heal__mode": "inline", "heal__policy": policy}
    killed = consuming.settings(broker.bootstrap, names, **given)
    left_alone = consuming.settings(
        broker.bootstrap, names, application_id=f"{names.application_id}-alone", **given
    )
    table = consuming.drifting(rows, seed=21)
    for partition, numbers in consuming.blocks(rows, partitions=2):
        consuming.send(killed, table, numbers, partition=partition, delay_ms=DELAY_MS)
        # Behind every second block is the bound of a monitor batch.
        for topic in (names.transactions, names.labels):
            consuming.send_raw(killed, topic, [b"{}", None], partition)

    alone = Loop(left_alone, model, until_end=True).run()
    moments = [killing.at_any_moment] * 2 + [killing.stopped_at_any_moment] * 3
    # Moments last: on a busy machine one may lie far down the stream, and a place behind it.
    many = killing.shuffled(killing.FAILPOINTS[len(killing.FEW) :], seed=4)
    ways = [*killing.FEW, *many, *killing.shuffled(moments, seed=4)]
    found = killing.run_and_kill(killed, tmp_path / "model", tmp_path, ways, seed=4)

    assert sorted(found.proven) == sorted(point.split(":")[0] for point in killing.FAILPOINTS)
    assert found.deaths >= len(killing.FAILPOINTS)
    assert alone.heals > 5
    outcomes.assert_same(killed, left_alone, partitions=2)
    told = [event["event"]["action"] for event in outcomes.decisions(killed)]
    assert told.count("dead-letters") >= 2 * rows // 1_000  # 2 topics; 1 in 1,000 offsets of each
    checked = audit(killed, model, Wanted())
    assert (checked.checked, checked.unexplained) == (rows, [])
    chained = audit_events.audit(killed)
    assert (chained.wrong, chained.doubled, chained.outside) == ([], 0, 0)
