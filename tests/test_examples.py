"""The worked examples, small: each heals, or says what it is there to say."""

import numpy as np
import pytest

from benchmarks.study import cells
from benchmarks.study.cells import CONDITIONS
from benchmarks.study.figures import log_losses
from consumer import model_directory
from consumer.columns import Labels
from consumer.driver import Driver
from examples import own_field, own_network, own_rules
from producer_sim.scenarios import Scenario
from tests.streams import actions, events, settings


@pytest.fixture(autouse=True)
def one_thread():
    model_directory.one_thread()


def driven(model, scenario, rows, flags):
    """Healed and frozen scores of the first rows of a cell, its truth, and what was said."""
    transactions, labels, y = cells.stream(scenario, CONDITIONS[0], 101)
    known: Labels = labels.rows(0, rows)
    healed, frozen, outs = [], [], []

    def take(out):
        healed.extend(each.score for each in out.scores)
        frozen.extend(each.shadow for each in out.scores)
        outs.append(out)

    with Driver(settings({"heal.mode": "inline", "batch.rows": 100, **flags}), model) as driver:
        driver.run([(transactions.rows(0, rows), known)], take)
    scores = [np.concatenate(each).astype(np.float64) for each in (healed, frozen)]
    return *scores, y[:rows], outs


def test_a_network_of_ones_own_heals(tmp_path):
    model = own_network.model(tmp_path / "model", 101)

    healed, frozen, y, outs = driven(
        model, Scenario.translate, 4_500, {"heal.policy": "hedge", "batch.span_s": 0}
    )

    after = slice(3_500, None)
    assert log_losses(healed, y)[after].mean() < 0.7 * log_losses(frozen, y)[after].mean()
    assert "heal-deployed" in [action for out in outs for action in actions(out)]


def test_a_field_of_ones_own_heals(tmp_path):
    found, y = own_field.run(2_400, 1, tmp_path / "model")

    after = slice(1_200, None)
    assert (
        log_losses(found.healed, y)[after].mean() < 0.6 * log_losses(found.frozen, y)[after].mean()
    )
    assert "heal-deployed" in found.said


def test_of_three_rules_the_one_that_turns_out_wrong_is_named(tmp_path):
    model = own_rules.model(tmp_path, 101)

    *_, outs = driven(model, Scenario.novel, 10_000, {"heal.policy": "frozen"})

    said = [event for out in outs for event in events(out, "rule-disagrees")]
    assert [event["rule"] for event in said] == ["low V14"]
    assert said[0]["offset"] > 3_000
    assert [rule.weight for rule in model.rules.rules] == [2.0, 0.5, 1.0]
