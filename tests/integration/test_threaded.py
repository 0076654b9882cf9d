"""Scoring never waits for a heal: the batches between its start and its swap are proof."""

import time
from itertools import pairwise
from pathlib import Path

import pytest

from consumer import heal
from tests.broker import Broker
from tests.conftest import CreateTopics, Names
from tests.integration import consuming

ROWS = 20_000
STEP_S = 1.0


def test_at_least_50_batches_are_scored_while_a_heal_takes_seconds(
    broker: Broker,
    names: Names,
    create_topics: CreateTopics,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    create_topics(names.transactions, names.labels)
    settings = consuming.settings(broker.bootstrap, names)
    table = consuming.rows(ROWS + 1_000, seed=5, shift=2.2)
    consuming.send(settings, table, range(ROWS))
    step = heal.heal_step

    def slow(*arguments):  # type: ignore[no-untyped-def]
        time.sleep(STEP_S)
        return step(*arguments)

    monkeypatch.setattr(heal, "heal_step", slow)
    fed = False

    def first_heal_ended(status):  # type: ignore[no-untyped-def]
        # After the first swap some more rows come, to be scored by what was healed.
        nonlocal fed
        if status.heals == 1 and not fed:
            fed = True
            monkeypatch.undo()
            consuming.send(settings, table, range(ROWS, ROWS + 1_000))
        return status.rows == ROWS + 1_000

    consuming.consume_until(settings, consuming.model(tmp_path / "model"), first_heal_ended)

    events = consuming.messages(settings, "events")
    requested = next(e for e in events if e["event"]["action"] == "heal-requested")
    deployed = next(e for e in events if e["event"]["action"] == "heal-deployed")
    scores = consuming.messages(settings, "scores")
    assert [score["offset"] for score in scores] == list(range(ROWS + 1_000))
    versions = [score["adapter_version"] for score in scores]
    swap = versions.index(deployed["reflexive"]["version"])
    # All before the swap by the old version, all after it by a newer one, at a batch end.
    assert set(versions[:swap]) == {1}
    assert all(later >= before for before, later in pairwise(versions))
    ends = {
        e["reflexive"]["offset"] + 1 for e in events if e["event"]["action"] == "batch-monitored"
    }
    assert swap in ends
    between = [end for end in ends if requested["reflexive"]["offset"] < end <= swap]
    assert len(between) >= 50
