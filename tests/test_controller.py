"""The threshold controller: each of its six answers, and what each leaves behind."""

import numpy as np
import orjson
import pytest

from consumer import costs
from consumer.controller import MIN_SAMPLES, Controller
from consumer.decision import decided

MISSED, ALARM = 1000.0, 100.0


def controller(threshold=0.5):
    return Controller(threshold, MISSED, ALARM)


def rows(count, cut, seed=0):
    """Scores, and labels that a threshold of `cut` tells apart; every third row is a fraud."""
    draws = np.random.default_rng(seed).random(count)
    fraud = np.arange(count) % 3 == 0
    return np.where(fraud, cut + (1 - cut) * draws, cut * draws), fraud


def accepted(cut=0.2):
    """A controller that has just accepted a threshold near `cut` for 0.5."""
    found = controller()
    found.observe(*rows(300, cut))
    assert found.propose().answer == "accept"
    return found


def test_accept_where_the_holdout_is_strictly_cheaper():
    found = controller()
    score, label = rows(300, 0.2)
    found.observe(score, label)

    answer = found.propose()

    assert (answer.answer, answer.changed, answer.rows) == ("accept", True, 300)
    assert (answer.before, answer.other) == (0.5, answer.threshold)
    assert answer.threshold == pytest.approx(0.2, abs=0.02)
    assert (found.threshold, found.prior) == (answer.threshold, 0.5)
    # The newest 34% judge, by what they cost.
    held = slice(300 - 102, 300)
    missed = (label & (score < 0.5))[held].sum()
    assert answer.error == pytest.approx(missed * MISSED / 102)
    assert answer.other_error < answer.error


def test_the_holdout_has_no_part_in_the_choice():
    found = controller()
    score, label = rows(300, 0.2)
    found.observe(score, label)
    chosen = found.propose().threshold

    again = controller()
    other, _ = rows(300, 0.2, seed=5)
    again.observe(np.where(np.arange(300) < 198, score, other), label)
    assert again.propose().threshold == chosen


def test_reject_where_the_holdout_says_otherwise():
    found = controller()
    old, new = rows(198, 0.9), rows(102, 0.5)
    found.observe(np.append(old[0], new[0]), np.append(old[1], new[1]))

    answer = found.propose()

    assert (answer.answer, answer.changed) == ("reject", False)
    assert answer.other > 0.8
    assert answer.other_error > answer.error
    assert (found.threshold, found.prior) == (0.5, None)


def test_reject_where_nothing_is_gained():
    # A threshold that decides every row as the one in force does: equal is not strictly less.
    found = controller(0.5)
    found.observe([0.2, 0.8] * 20, [0, 1] * 20)

    answer = found.propose()

    assert (answer.answer, answer.error, answer.other_error) == ("reject", 0.0, 0.0)


def test_rollback_where_rows_since_cost_more():
    found = accepted()
    before = found.threshold
    found.observe(*rows(90, 0.5, seed=2))  # legitimate rows between the two thresholds

    answer = found.evaluate_regression()

    assert (answer.answer, answer.changed) == ("rollback", True)
    assert (answer.threshold, answer.before, answer.other) == (0.5, before, 0.5)
    assert answer.error > answer.other_error == 0.0
    assert (found.threshold, found.prior) == (0.5, None)


def test_stable_where_rows_since_cost_no_more():
    found = accepted()
    found.observe(*rows(90, 0.2, seed=2))
    answer = found.evaluate_regression()
    assert (answer.answer, answer.changed, answer.threshold) == ("stable", False, found.threshold)

    # A tolerance of 0: equal is stable, and the prior is still there to go back to.
    found.observe([0.9] * 30 + [0.01] * 30, [1] * 30 + [0] * 30)
    answer = found.evaluate_regression()
    assert (answer.answer, answer.error, answer.other_error) == ("stable", 0.0, 0.0)
    assert found.prior == 0.5


def test_no_prior_before_the_first_change_and_after_a_rollback():
    found = controller()
    found.observe(*rows(90, 0.2))
    assert found.evaluate_regression().answer == "no_prior"

    found = accepted()
    found.observe(*rows(90, 0.5))
    assert found.evaluate_regression().answer == "rollback"
    found.observe(*rows(90, 0.5))
    assert found.evaluate_regression().answer == "no_prior"


def test_no_prior_after_somebody_else_has_set_the_threshold():
    found = accepted()
    found.ordered(0.7)

    assert found.evaluate_regression().answer == "no_prior"
    assert found.threshold == 0.7


@pytest.mark.parametrize("ask", ["propose", "evaluate_regression"])
def test_insufficient_data_under_the_least_rows(ask):
    found = accepted()
    threshold = found.threshold
    found.observe(*rows(MIN_SAMPLES - 1, 0.5))
    answer = getattr(found, ask)()
    assert (answer.answer, answer.changed, answer.rows) == ("insufficient_data", False, 19)
    assert (answer.threshold, found.threshold) == (threshold, threshold)

    found.observe(*rows(MIN_SAMPLES, 0.5))
    assert getattr(found, ask)().answer != "insufficient_data"


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("ask", ["propose", "evaluate_regression"])
def test_rows_of_one_label_alone_are_insufficient(ask, label):
    found = accepted()
    found.observe(np.linspace(0, 1, 100), np.full(100, label))
    assert getattr(found, ask)().answer == "insufficient_data"


@pytest.mark.parametrize("part", [slice(0, 198), slice(198, 300)])
def test_a_part_without_frauds_proposes_nothing(part):
    score, label = rows(300, 0.2)
    label[part] = False
    found = controller()
    found.observe(score, label)
    assert found.propose().answer == "insufficient_data"


@pytest.mark.parametrize("ask", ["propose", "evaluate_regression"])
@pytest.mark.parametrize("count", [5, 300])
def test_the_window_is_consumed_either_way(ask, count):
    for found in (controller(), accepted()):
        found.observe(*rows(count, 0.5))
        assert len(found) == count
        getattr(found, ask)()
        assert len(found) == 0


def test_weights_and_amounts_decide():
    score = [0.3, 0.7] * 30
    for label, weight, expected in (([1, 0], [1, 1], 0.0), ([1, 0], [1, 100], 0.85)):
        found = controller()
        found.observe(score, label * 30, weight * 30)
        found.propose()
        assert found.threshold == pytest.approx(expected)
    # The same rows, where what is missed is worth less than an alarm.
    found = controller()
    found.observe(score, [1, 0] * 30, missed=[5.0, 0.0] * 30)
    found.propose()
    assert found.threshold == pytest.approx(0.85)


def test_a_proposal_stays_below_its_bound():
    found = controller(0.5)
    found.observe(*rows(300, 0.8))
    assert found.propose(below=0.7).threshold < 0.7


def test_what_it_answers_is_counted_and_survives_a_restart():
    found = accepted()
    found.observe(*rows(40, 0.5))
    again = controller(0.9)
    again.load(orjson.loads(orjson.dumps(found.state())))

    audit = again.audit()
    assert audit == found.audit()
    assert audit["answers"] == {"accept": 1}
    assert (audit["prior"], audit["waiting_rows"]) == (0.5, 40)
    assert again.evaluate_regression() == found.evaluate_regression()
    assert again.audit()["answers"] == {"accept": 1, "rollback": 1}


def test_the_error_is_that_of_the_cost_structure():
    found = accepted()
    score, label = rows(60, 0.35)
    weight = np.arange(1.0, 61.0)
    found.observe(score, label, weight)
    before = found.threshold

    answer = found.evaluate_regression()

    bill = costs.bill(decided(score, before), label, MISSED, weight)
    assert answer.error == pytest.approx(bill.at(ALARM) / weight.sum())
