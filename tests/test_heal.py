"""One heal: its loss by hand, what it may change, and what it refuses."""

import subprocess
import sys
from math import log

import numpy as np
import pytest
import torch
from torch import tensor

from consumer.heal import (
    CancelledError,
    DivergedError,
    Healer,
    Stated,
    adam_step,
    heal_loss,
    positive_weight,
)
from consumer.manifest import RuleTable
from consumer.model_directory import base_sha256
from consumer.rules import Rules, parse
from tests.streams import DRIFT, V14, model, stream

ROWS = stream(100, drift=DRIFT)
X, LABEL = ROWS.transactions.x, ROWS.labels.is_fraud
Y, RULE = torch.from_numpy(LABEL.astype(np.float32)), torch.from_numpy(X[:, V14] < -1.5)


def healer(of, steps=5):
    return Healer(of.module, of.rules, steps=steps, rate=0.003)


def heal(of, by, x=X, label=LABEL, start=None, moments=None):
    return by.heal(start or of.base_adapter, x, label, 0.30, moments=moments)


def loss(of, adapter, weight):
    p = of.module.decide(of.module.represent(torch.from_numpy(X)), adapter)
    return heal_loss(p, Y, Stated(RULE.float(), None), weight).item()


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def test_the_loss_by_hand():
    p, label, rule = tensor([0.9, 0.2, 0.5]), tensor([1.0, 0, 1]), tensor([1.0, 1, 0])

    real = -(2 * log(0.9) + log(0.8) + 2 * log(0.5)) / 3
    consistency = -(log(0.9) + log(0.2) + log(0.5)) / 3
    entropy = -sum(q * log(q) + (1 - q) * log(1 - q) for q in (0.9, 0.2, 0.5)) / 3

    found = heal_loss(p, label, Stated(rule, None), weight=2.0).item()
    assert found == pytest.approx(0.70 * real + 0.24 * consistency + 0.03 * entropy, rel=1e-5)
    without = heal_loss(p, label, None, weight=2.0).item()
    assert without == pytest.approx(0.70 * real + 0.03 * entropy, rel=1e-5)
    heavy = heal_loss(p, label, Stated(rule, tensor([3.0, 1, 1])), weight=2.0).item()
    consistency -= 2 * log(0.9) / 3
    assert heavy == pytest.approx(0.70 * real + 0.24 * consistency + 0.03 * entropy, rel=1e-5)


def test_a_row_counts_as_much_as_the_heaviest_rule_that_fires_on_it():
    light, heavy = parse("a < 0", ["a", "b"], weight=0.5), parse("b < 0", ["a", "b"], weight=2.0)
    x = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]], np.float32)

    stated = Stated.of(rules := Rules([light, heavy]), rules.fired(x))

    assert stated.target.tolist() == [1, 1, 1, 0]
    assert stated.weight.tolist() == [2, 0.5, 2, 1]


def test_a_heavier_rule_pulls_scores_of_its_rows_up():
    def healed(weight):
        of = model(rules=(RuleTable(name="low", when="V14 < -1.5", weight=weight),))
        return heal(of, healer(of)).score[RULE.numpy()].mean()

    assert healed(1.0) == heal(model(), healer(model())).score[RULE.numpy()].mean()
    assert healed(0.2) < healed(1.0) < healed(4.0)


@pytest.mark.parametrize(
    ("frauds", "rows", "weight"),
    [(0, 20, 1.0), (1, 20, 1.0), (2, 20, 2.0), (4, 20, 3.0), (6, 20, 4.0), (20, 20, 4.0)],
)
def test_a_fraud_weighs_more_where_conflicts_turned_out_to_be_fraud(frauds, rows, weight):
    label = torch.cat([torch.ones(frauds), torch.zeros(rows - frauds), torch.ones(7)])
    conflict = torch.arange(rows + 7) < rows  # the frauds behind are none of its business

    assert positive_weight(label, conflict) == pytest.approx(weight)


def test_without_a_conflict_a_fraud_weighs_one():
    assert positive_weight(torch.ones(3), torch.zeros(3, dtype=torch.bool)) == 1.0


def test_a_heal_changes_every_adapter_parameter_and_nothing_else():
    of = model()
    before = {name: t.clone() for name, t in of.module.state_dict().items()}

    healed = heal(of, healer(of))

    assert sorted(healed.adapter) == sorted(of.base_adapter)
    assert not any(torch.equal(healed.adapter[n], t) for n, t in of.base_adapter.items())
    assert same(before, of.module.state_dict())  # it heals a copy
    assert base_sha256(of.module) == of.manifest.base_sha256


def test_the_copys_backbone_and_head_stay_as_well():
    of = model()
    by = healer(of)

    heal(of, by)

    assert base_sha256(by._module) == of.manifest.base_sha256


def test_a_heal_lowers_its_loss_and_hands_out_the_candidates_scores():
    of = model()

    healed = heal(of, healer(of))

    h = of.module.represent(torch.from_numpy(X))
    assert healed.loss_after < healed.loss_before
    assert healed.score == pytest.approx(of.module.decide(h, healed.adapter).numpy(), abs=1e-6)
    conflict = RULE & (of.module.decide(h) < 0.30)
    assert healed.positive_weight == positive_weight(Y, conflict) > 1
    assert healed.loss_before == pytest.approx(loss(of, None, healed.positive_weight))
    assert healed.loss_after == pytest.approx(loss(of, healed.adapter, healed.positive_weight))


def test_without_rules_the_consistency_term_is_off():
    of = model(rules=())

    healed = heal(of, healer(of))

    p = of.module.decide(of.module.represent(torch.from_numpy(X)))
    assert healed.positive_weight == 1.0
    assert healed.loss_before == pytest.approx(heal_loss(p, Y, None, 1.0).item())


def test_a_heal_starts_from_the_state_given():
    of = model()
    first = heal(of, healer(of))

    second = heal(of, healer(of), start=first.adapter)

    assert second.loss_before == pytest.approx(loss(of, first.adapter, second.positive_weight))
    assert second.loss_before != pytest.approx(first.loss_before)


def test_equal_heals_are_equal_to_the_last_bit():
    of = model()

    assert same(heal(of, healer(of)).adapter, heal(model(), healer(of)).adapter)


def test_the_optimisers_moments_persist_over_heals():
    of = model()
    by = healer(of)

    first = heal(of, by)
    second = heal(of, by, moments=first.moments)  # both from the same start

    assert not same(first.adapter, second.adapter)
    assert same(heal(of, healer(of), moments=first.moments).adapter, second.adapter)


def test_adam_is_torchs_to_the_last_bit():
    draws = torch.Generator().manual_seed(5)
    ours = {name: t.clone() for name, t in model().base_adapter.items()}
    theirs = {name: torch.nn.Parameter(t.clone()) for name, t in ours.items()}
    remembered = {"step": torch.tensor(0.0), "exp_avg": None, "exp_avg_sq": None}
    moments = {
        f"{name}.{what}": torch.zeros_like(t) if kept is None else kept.clone()
        for name, t in ours.items()
        for what, kept in remembered.items()
    }
    optimiser = torch.optim.Adam(theirs.values(), lr=0.003)

    for _ in range(50):
        for parameter in theirs.values():
            parameter.grad = torch.randn(parameter.shape, generator=draws)
        optimiser.step()
        adam_step(ours, [parameter.grad for parameter in theirs.values()], moments, rate=0.003)

    assert same(ours, theirs)
    for name, parameter in theirs.items():
        assert all(
            torch.equal(moments[f"{name}.{what}"], kept)
            for what, kept in optimiser.state[parameter].items()
        )


def test_a_heal_does_without_torchs_compiler():
    # Its import is 2 s of CPU, and the first heal of a process has the lowest priority.
    code = """if True:
        import sys
        from consumer.heal import Healer
        from consumer.model import SelfHealingMLP
        from consumer.rules import Rules
        from tests.test_heal import LABEL, X

        module = SelfHealingMLP(X.shape[1])
        healer = Healer(module, Rules(), steps=1, rate=0.003)
        healer.heal(module.adapter_state(), X, LABEL, 0.30)
        print("torch._dynamo" in sys.modules)
    """
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ended.stdout == "False\n"


def test_a_heal_that_diverges_is_refused_and_leaves_nothing_behind():
    of = model(rules=())
    by = healer(of)

    broken = {name: torch.full_like(p, torch.nan) for name, p in of.base_adapter.items()}
    with pytest.raises(DivergedError, match="loss nan before step 1"):
        heal(of, by, start=broken)

    assert same(heal(of, by).adapter, heal(of, healer(of)).adapter)


@pytest.mark.parametrize("steps", [1, 7])
def test_it_is_asked_before_each_step_whether_to_go_on(steps):
    of = model()
    answers = [False] * steps

    healer(of, steps=steps).heal(of.base_adapter, X, LABEL, 0.3, answers.pop)
    assert answers == []

    answers = [True] + [False] * (steps - 1)  # the last one is popped first
    with pytest.raises(CancelledError):
        healer(of, steps=steps).heal(of.base_adapter, X, LABEL, 0.3, answers.pop)
    assert answers == []
