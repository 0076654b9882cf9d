"""The pool of experts: what is lent before labels come, and what becomes of it."""

import math

import numpy as np
import pytest
import torch

from consumer.hedge.pool import DISBELIEF, SHARE_ROWS, Pool
from consumer.mixture import FROZEN, flat
from consumer.registry import InForce, Registry

STATE = {"logit": torch.tensor(-2.0)}


def lending(earned):
    """Half of the weight lent to the base rate; `earned`: by labels, more than a trace."""
    pool = Pool()
    pool.put("adapter", {"bias": torch.tensor(1.0)})
    pool.admit({"adapter": 100.0}, changed=True)
    pool.put("base_rate", STATE)
    if earned:
        pool.admit({"base_rate": 100.0}, changed=True)
    pool.lend("base_rate", 0.5)
    return pool


def in_force(pool):
    states = flat(pool.states)
    snapshot = Registry("m", "b").snapshot("pool", states, parent=None, reason="")
    return InForce(snapshot, pool.counting)


@pytest.mark.parametrize("earned", [False, True])
def test_what_labels_gave_comes_back_when_what_was_lent_is_taken_back(earned):
    pool = lending(earned)
    before = pool.earned
    assert pool.weights["base_rate"] == 0.5

    pool.take_back()

    assert pool.lent is None
    assert pool.weights == before
    assert ("base_rate" in pool.weights) is earned
    assert ("base_rate" in pool.states) is earned


@pytest.mark.parametrize("earned", [False, True])
def test_back_at_what_is_in_force_what_was_lent_is_still_lent(earned):
    pool = lending(earned)
    before, weights = pool.earned, pool.weights

    pool.return_to(in_force(pool))

    assert pool.weights == pytest.approx(weights)
    pool.take_back()
    assert pool.weights == pytest.approx(before)


def test_back_at_what_was_before_nothing_is_lent():
    pool = lending(earned=False)

    pool.return_to(InForce(in_force(pool).snapshot, {FROZEN: 1.0}))

    assert pool.lent is None
    assert pool.weights == {FROZEN: 1.0}
    assert math.isclose(sum(pool.earned.values()), 1.0)


def test_new_numbers_get_the_weight_that_labels_would_have_given_them():
    pool = Pool()
    for name in ("adapter", "scaling"):
        pool.put(name, {})
    pool.admit({"adapter": 0.0, "scaling": 0.0}, changed=True)
    said = np.array([[0.9], [0.001], [0.2]]).repeat(20, axis=1)  # frozen, adapter, scaling
    pool.follow(said, np.ones(20), np.ones(20), changed=True)
    before = pool.earned

    pool.learnt_anew({"adapter": 3.0, "scaling": -1.0})

    after = pool.earned
    assert after["adapter"] == pytest.approx(before["adapter"] * math.exp(3.0))
    others = before["scaling"] / before[FROZEN]
    assert after["scaling"] / after[FROZEN] == pytest.approx(others, rel=0.01)
    assert sum(after.values()) == pytest.approx(1.0)
    pool.learnt_anew({"adapter": 400.0, "scaling": 400.0})
    assert pool.earned == pytest.approx(dict.fromkeys(after, 1 / 3))
    pool.learnt_anew({FROZEN: 0.0})
    assert pool.earned == pytest.approx(dict.fromkeys(after, 1 / 3))


def test_where_nothing_is_known_to_have_changed_some_of_the_evidence_does_not_count():
    calm, changed = Pool(), Pool()
    for pool in (calm, changed):
        pool.put("adapter", {})
    calm.admit({"adapter": DISBELIEF - 1}, changed=False)
    changed.admit({"adapter": -1.0}, changed=True)

    assert calm.earned == pytest.approx(changed.earned)
    assert calm.earned["adapter"] == pytest.approx(math.exp(-1))


@pytest.mark.parametrize(("rows", "alike"), [(SHARE_ROWS // 10, False), (SHARE_ROWS, True)])
def test_where_nothing_is_known_to_have_changed_few_labels_move_little_weight_on(rows, alike):
    found = {}
    for changed in (True, False):
        pool = Pool()
        pool.put("adapter", {})
        pool.admit({"adapter": -2.0}, changed=True)
        for _ in range(20):  # they say nothing
            pool.follow(np.full((2, rows), 0.4), np.ones(rows), np.ones(rows), changed=changed)
        found[changed] = pool.earned["adapter"]

    assert (found[False] == found[True]) is alike
    assert found[False] <= found[True]
