"""Each expert learns what it is there for, and nothing where there is nothing to learn."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from consumer import experts, restore
from consumer.experts import long_memory
from consumer.experts.alignment import shift
from consumer.experts.base import Learning, View
from consumer.experts.descent import platt
from consumer.experts.long_memory import MEMBERS
from consumer.experts.newton import Problem, most_evident, solve
from consumer.hedge.guess import UNMOVED_P, Guesser
from consumer.mixture import FROZEN, Mixture, apart, flat
from consumer.model_directory import base_sha256
from consumer.reference import Ranks, Sample, fits, quantiles
from tests.streams import DRIFT, V14, eighths, model, stream

LEARNERS = [e.name for e in experts.pool(model()) if isinstance(e, experts.Learner)]


def learning(rows, *, drift=0.0, seed=3, translated=0.0):
    """Rows to learn from, a quarter held; `translated`: all rows of both classes moved."""
    drawn = stream(rows, drift=drift, seed=seed)
    x = drawn.transactions.x.copy()
    x[:, V14] -= translated
    y = drawn.labels.is_fraud.astype(np.float32)
    ones, none = np.ones(rows, np.float32), np.zeros((rows, 0), np.uint8)
    return Learning(x, y, ones, eighths(rows), none)


def loss(logit, y):
    p = np.clip(1 / (1 + np.exp(-logit.astype(np.float64))), 1e-7, 1 - 1e-7)
    return float(-np.where(y == 1, np.log(p), np.log1p(-p)).mean())


@pytest.fixture
def mixture():
    return Mixture(model())


def loss_of(mixture, name, state, rows):
    with torch.no_grad():
        view = View(mixture.base, torch.from_numpy(rows.x))
        return loss(mixture.experts[name].logit(state, view).numpy(), rows.y)


@pytest.mark.parametrize("name", LEARNERS)
def test_what_has_moved_is_learnt_from_labels(mixture, name):
    before, fresh = learning(400, translated=DRIFT), learning(2_000, translated=DRIFT, seed=4)
    expert = mixture.experts[name]

    fitted = expert.fit(mixture.base, expert.cold(mixture.base), before, seed=1)

    frozen = loss_of(mixture, FROZEN, {}, fresh)
    assert loss_of(mixture, name, fitted.state, fresh) < 0.5 * frozen
    # What the gate is shown is what rows that were not learnt from are worth.
    judged = loss(fitted.logit, before.y[fitted.judged])
    assert judged == pytest.approx(loss_of(mixture, name, fitted.state, fresh), abs=0.08)


@pytest.mark.parametrize("name", LEARNERS)
def test_where_nothing_has_moved_little_is_learnt(mixture, name):
    expert, fresh = mixture.experts[name], learning(2_000, seed=4)

    fitted = expert.fit(mixture.base, expert.cold(mixture.base), learning(400), seed=1)

    assert loss_of(mixture, name, fitted.state, fresh) < loss_of(mixture, FROZEN, {}, fresh) + 0.03


@pytest.mark.parametrize("name", LEARNERS)
def test_the_same_rows_and_seed_give_the_same_numbers_and_the_network_stays(mixture, name):
    of = model()
    before = base_sha256(of.module)
    mixture = Mixture(of)
    expert, rows = mixture.experts[name], learning(200, translated=1.0)

    one, other = (
        expert.fit(mixture.base, expert.cold(mixture.base), rows, seed=7) for _ in range(2)
    )

    assert all(torch.equal(one.state[key], other.state[key]) for key in one.state)
    assert base_sha256(of.module) == before


@pytest.mark.parametrize("name", [e.name for e in experts.pool(model())][1:])
def test_a_cold_expert_is_the_frozen_model_or_knows_the_base_rate(mixture, name):
    rows = learning(50)

    p = mixture.probabilities(rows.x, {FROZEN: {}, name: mixture.experts[name].cold(mixture.base)})

    if name == "base_rate":
        assert p[1] == pytest.approx(np.full(50, model().manifest.reference.fraud_share), abs=1e-6)
    else:
        assert p[1] == pytest.approx(p[0], abs=1e-5)


def test_a_heal_takes_epochs_of_its_rows_and_no_more_than_a_worker_has_time_for(mixture):
    steps = mixture.experts["long_memory"].steps
    assert steps(750) == 4 * 2
    assert steps(75_000) == 4 * 147
    assert steps(750_000) == 2_000


def test_heal_by_heal_long_memory_learns_what_one_heal_has_no_steps_for(mixture):
    rows, fresh = learning(1_000, translated=DRIFT), learning(2_000, translated=DRIFT, seed=4)
    expert = mixture.experts["long_memory"]
    state, losses = expert.cold(mixture.base), []

    for seed in range(20):
        state = expert.fit(mixture.base, state, rows, seed).state
        losses.append(loss_of(mixture, "long_memory", state, fresh))

    assert losses[-1] < 0.9 * losses[0]


def test_members_of_long_memory_are_pulled_to_where_they_began(mixture, monkeypatch):
    rows, expert, base = learning(200), mixture.experts["long_memory"], mixture.base
    rows = replace(rows, y=np.random.default_rng(2).permutation(rows.y))  # nothing to be learnt
    cold = expert.cold(base)

    def far():
        state = cold
        for seed in range(30):
            state = expert.fit(base, state, rows, seed).state
        numbers = [n for n in state if n not in ("slope", "bias")]
        return sum(float((state[n] - cold[n]).square().sum()) for n in numbers)

    pulled = far()
    monkeypatch.setattr(long_memory, "PULL", 0.0)
    assert pulled < 0.9 * far()


def test_each_member_of_long_memory_is_judged_on_rows_that_it_has_never_seen(mixture):
    rows, expert, base = learning(400, drift=2.2), mixture.experts["long_memory"], mixture.base

    def learnt(rows):
        """Two heals, one after the other."""
        once = expert.fit(base, expert.cold(base), rows, 1)
        return expert.fit(base, once.state, rows, 2)

    fitted = learnt(rows)
    judged = fitted.judged
    assert sorted(judged.tolist()) == np.flatnonzero(rows.eighth < MEMBERS).tolist()
    for member in range(MEMBERS):
        unseen = rows.eighth == member
        again = learnt(replace(rows, y=np.where(unseen, 1 - rows.y, rows.y)))
        same = rows.eighth[judged] == member
        for name, tensor in fitted.state.items():
            assert torch.equal(again.state[name][member], tensor[member])
        assert np.array_equal(again.logit[same], fitted.logit[same])
        assert np.array_equal(again.before[same], fitted.before[same])
        assert not np.array_equal(again.logit[~same], fitted.logit[~same])


def test_trees_find_a_corner_that_no_sum_over_features_has(mixture):
    rng = np.random.default_rng(6)

    def corner(count):
        x = rng.normal(size=(count, 3)).astype(np.float32)
        y = ((x[:, 0] > 0) ^ (x[:, 2] > 0)).astype(np.float32)
        ones, none = np.ones(count, np.float32), np.zeros((count, 0), np.uint8)
        return Learning(x, y, ones, eighths(count), none)

    rows, fresh = corner(1_500), corner(2_000)
    found = {}
    for name in ("trees", "residual"):
        expert = mixture.experts[name]
        fitted = expert.fit(mixture.base, expert.cold(mixture.base), rows, seed=1)
        found[name] = loss_of(mixture, name, fitted.state, fresh)

    assert found["trees"] < 0.2 < 0.6 < found["residual"]


def test_a_pool_travels_as_one_state(mixture):
    pool = {n: e.cold(mixture.base) for n, e in mixture.experts.items()}

    back = apart({**flat(pool), **model().base_adapter})

    assert {n: set(s) for n, s in back.items()} == {n: set(s) for n, s in pool.items() if s}


def test_newton_ends_where_the_gradient_does():
    rng = np.random.default_rng(1)
    design = np.column_stack([rng.normal(size=(300, 5)), np.ones(300)])
    y = (rng.random(300) < 1 / (1 + np.exp(-design @ [0.5, 2, 0, 0, -1, 0.3]))).astype(float)
    problem, weight = Problem(design, y, np.ones(300)), np.ones(300)
    ridge = problem.ridge(4.0, 32.0)

    found = solve(problem, ridge, problem.prior)

    p = 1 / (1 + np.exp(-design @ found.weights))
    gradient = design.T @ (weight * (p - y)) + ridge * (found.weights - problem.prior)
    assert np.abs(gradient).max() < 1e-2


def test_the_evidence_asks_for_a_hard_ridge_where_the_frozen_model_is_right():
    rng = np.random.default_rng(2)
    logit = rng.normal(size=400) * 3
    x = rng.normal(size=(400, 2))
    right = (rng.random(400) < 1 / (1 + np.exp(-logit))).astype(float)
    wrong = (rng.random(400) < 1 / (1 + np.exp(-3 * x[:, 0]))).astype(float)
    design = np.column_stack([logit, x, x**2 - 1, np.ones(400)])

    kept, left = (most_evident(Problem(design, y, np.ones(400))) for y in (right, wrong))

    assert kept.ridge[1] > 10 * left.ridge[1]
    assert left.weights[1] == pytest.approx(3, abs=0.7)
    assert abs(left.weights[0]) < 0.3


def test_calibration_finds_slope_and_bias():
    rng = np.random.default_rng(3)
    logit = rng.normal(size=5_000) * 2
    y = (rng.random(5_000) < 1 / (1 + np.exp(-(0.5 * logit - 1)))).astype(float)

    assert platt(logit, y, np.ones(5_000)) == (
        pytest.approx(0.5, abs=0.05),
        pytest.approx(-1, abs=0.1),
    )


def reference():
    rows = learning(5_000, seed=8).x
    return Sample(quantiles(rows), 5_000), rows.std(axis=0).astype(np.float64)


def test_rows_that_only_moved_are_moved_back():
    then, sd = reference()

    found, _ = shift(learning(300, translated=DRIFT).x, then, sd)

    assert found is not None
    assert found.tolist() == [0, pytest.approx(-DRIFT, abs=0.3), 0]


@pytest.mark.parametrize("rows", [200, 1_000])
def test_rows_whose_shape_changed_are_refused(rows):
    then, sd = reference()

    # Legitimate rows onto the fraud's: one hump where there were two.
    assert shift(learning(rows, drift=DRIFT).x, then, sd) is None


def test_rows_that_did_not_move_have_no_shift():
    then, sd = reference()

    assert shift(learning(300).x, then, sd) is None


def test_p_is_small_for_other_rows_alone():
    then, _ = reference()

    same = [fits(learning(200, seed=seed).x, then) for seed in range(40)]
    other = fits(learning(200, translated=0.7).x, then)

    assert min(same) > 1e-3
    assert sum(p < 0.05 for p in same) <= 6
    assert other < 1e-6


@given(
    arrays(np.float32, st.tuples(st.integers(1, 40), st.just(2)), elements=st.integers(-9, 9)),
    arrays(np.float32, st.tuples(st.integers(1, 60), st.just(2)), elements=st.integers(-9, 9)),
    st.integers(1, 40),
)
def test_rows_that_are_ranked_fit_as_well_as_rows(then, now, first):
    sample = Sample(then, 500)
    ranks = Ranks(sample)

    apart = ranks.counts(ranks.of(now[:first])) + ranks.counts(ranks.of(now[first:]))

    assert ranks.fits(apart) == pytest.approx(fits(now, sample), rel=1e-9)


def test_of_batches_that_come_and_go_only_the_newest_are_compared():
    of = model()
    guesser = Guesser(of, Mixture(of))
    assert of.trained is not None
    sample = Sample(of.trained.quantiles, of.manifest.reference.rows)
    batches = np.split(stream(3_000, drift=0).transactions.x, 30)
    batches[10:20] = [batch + np.float32(1.5) for batch in batches[10:20]]
    seen = set()

    for end in (3, 4, 9, 14, 20, 23, 26, 30):
        some = batches[max(0, end - 5) : end]
        is_moved = fits(np.concatenate(some), sample) <= UNMOVED_P
        assert guesser.is_moved(some, None) == is_moved
        seen.add(is_moved)

    assert seen == {False, True}


def test_an_adapter_state_counts_as_the_networks_own_adapter_would():
    module = model().module
    draws = torch.Generator().manual_seed(4)
    h = torch.randn(500, 64, generator=draws)
    state = {
        name: torch.randn(tensor.shape, generator=draws)
        for name, tensor in module.adapter_state().items()
    }
    given = module.logit(h, state)

    with torch.no_grad():
        for name, parameter in module.adapter_parameters().items():
            parameter.copy_(state[name])
        assert torch.allclose(given, module.logit(h), rtol=1e-4, atol=1e-4)


# By format of checkpoints: what lies in a registry is read by the same shapes, or not at all.
SHAPES = {
    7: {
        "adapter": {"scale": (), "slope": (), "bias": ()},
        "scaling": {"scale": (3,), "shift": (3,), "slope": (), "bias": ()},
        "tuned": {"scale": (3,), "shift": (3,), "slope": (), "bias": ()},
        "long_memory": {"scale": (2, 3), "shift": (2, 3), "slope": (2,), "bias": (2,)},
        "residual": {"weights": (8,)},
        "recent": {"weights": (8,)},
        "sparse": {"weights": (8,), "covariance": (8, 8)},
        "trees": {"feature": (64, 4), "above": (64, 4), "leaf": (64, 16), "slope": (), "bias": ()},
        "alignment": {"shift": (3,)},
        "prevalence": {"bias": ()},
        "base_rate": {"logit": ()},
    }
}


def test_other_numbers_are_another_format(mixture):
    """Where this fails for a good reason, `restore.FORMAT` goes up, and its entry here."""
    shapes = {
        name: {
            key: tuple(tensor.shape)
            for key, tensor in expert.cold(mixture.base).items()
            if not key.startswith("adapter.")  # of the model's own network
        }
        for name, expert in mixture.experts.items()
        if name != FROZEN
    }
    assert shapes == SHAPES[restore.FORMAT]
