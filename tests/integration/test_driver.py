"""A stream that lies in a file is decided on as it would be through Kafka."""

from pathlib import Path

import numpy as np
import pytest

from consumer.columns import Labels, Transactions
from consumer.driver import Driver
from consumer.events import Event
from consumer.outputs import Outputs
from tests.broker import Broker
from tests.conftest import CreateTopics, Names
from tests.integration import consuming
from tests.integration.consuming import START_MS, STEP_MS

ROWS, LATE_MS = 1_500, 30_000
# A process's own life.
LIFE = {"consumer-started", "consumer-stopped", "partitions-assigned", "partitions-revoked"}


def decisions(events: list[Event]) -> list[tuple[str, int]]:
    """What was decided, and where."""
    return [
        (event["event"]["action"], event["reflexive"]["offset"])
        for event in events
        if event["event"]["action"] not in LIFE
    ]


def test_the_driver_decides_as_the_consumer_does(
    broker: Broker, names: Names, create_topics: CreateTopics, tmp_path: Path
) -> None:
    create_topics(names.transactions, names.labels)
    settings = consuming.settings(
        broker.bootstrap, names, heal__mode="inline", heal__policy="hedge"
    )
    model = consuming.model(tmp_path / "model")
    table = consuming.drifting(ROWS, seed=21)
    consuming.send(settings, table, range(ROWS), delay_ms=LATE_MS)
    consuming.consume(settings, model)
    scores = consuming.messages(settings, "scores")

    out = Outputs()

    def take(part: Outputs) -> None:
        out.scores += part.scores
        out.events += part.events

    ids, offset = [f"t-{n:06d}" for n in range(ROWS)], np.arange(ROWS, dtype=np.int64)
    times = START_MS + STEP_MS * offset
    fraud = table.label.astype(np.int8)
    sources: list[str | None] = ["chargeback"] * ROWS
    with Driver(settings, model) as driver:
        driver.run(
            [
                (
                    Transactions(0, ids, times, table.x, offset),
                    Labels(0, ids, times + LATE_MS, fraud, sources, offset),
                )
            ],
            take,
        )

    driven = np.concatenate([each.score for each in out.scores])
    assert driven == pytest.approx([score["score"] for score in scores], abs=1e-6)
    versions = [each.adapter_version for each in out.scores for _ in range(len(each))]
    assert versions == [score["adapter_version"] for score in scores]
    assert len(set(versions)) > 5
    published = consuming.messages(settings, "events")
    assert decisions(out.events) == decisions(published)
    assert {"regime-changed", "heal-deployed"} <= {action for action, _ in decisions(published)}
