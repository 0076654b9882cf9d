"""Signals without labels: the exact batch at which they speak, and what they say."""

from dataclasses import replace

import numpy as np
import pytest

from consumer.rules import Rules, parse
from consumer.signals import Conflicts, Fidi, conflicts, judge
from consumer.threshold import Thresholds
from consumer.watch import Watch
from tests.streams import BATCH, START_MS, model, settings


def constant(value, rows=10):
    return np.full((rows, 1), value, np.float32)


def fidi(mu=0.0, sigma=1.0, window=10, warmup=3):
    return Fidi(["V14"], [0], [mu], [sigma], window=window, warmup=warmup)


def z_of(batches, **parameters):
    found = fidi(**parameters)
    return [ended(found, x)["V14"] for x in batches]


def ended(watching, x):
    """What it says of a whole batch."""
    watching.take(x)
    return watching.end()


def test_nothing_is_said_before_the_third_batch():
    assert z_of([constant(5.0)] * 4) == [0.0, 0.0, 5.0, 5.0]


def test_z_is_the_distance_of_the_moving_mean_in_training_sigmas():
    # The last two means: 1, 2 -> 1.5; 2, -9 -> -3.5. From mu .5, in sigmas of 2.
    z = z_of([constant(v) for v in (1, 2, -9)], mu=0.5, sigma=2.0, window=2, warmup=1)

    assert z == [0.25, 0.5, 2.0]


def test_a_seeded_drift_is_seen_at_its_seventh_batch():
    random = np.random.default_rng(3)
    clean = [random.normal(0, 1, (100, 1)).astype(np.float32) for _ in range(30)]
    drifted = [random.normal(-1.5, 1, (100, 1)).astype(np.float32) for _ in range(12)]

    over = [number for number, z in enumerate(z_of(clean + drifted), 1) if z > 1.0]

    # A window of ten batches holds k of mean -1.5 after k: -.15 k passes 1 at k = 7.
    assert over == [37, 38, 39, 40, 41, 42]


def test_each_watched_feature_has_its_own_column_and_reference():
    found = Fidi(["b", "a"], [1, 0], [0, 10], [1, 5], window=1, warmup=1)

    assert ended(found, np.array([[0, 3], [0, 3]], np.float32)) == {"b": 3.0, "a": 2.0}


def test_means_are_taken_in_double_precision():
    x = np.random.default_rng(0).normal(10_000, 1, (1_000, 1)).astype(np.float32)

    assert z_of([x], warmup=1) == [pytest.approx(x.astype(np.float64).mean(), rel=1e-12)]


RULES = Rules([parse("a < 0", ["a", "b"]), parse("b > 5", ["a", "b"])])
X = np.array([[-1, 9], [-1, 0], [1, 9], [1, 0]], np.float32)


def test_a_conflict_is_a_rule_that_fires_where_the_model_is_sure_of_the_opposite():
    found = conflicts(RULES, X, np.array([0.1, 0.9, 0.29, 0.1], np.float32), 0.30)

    assert found == Conflicts(2, {"a < 0": 1, "b > 5": 2}, {"a < 0": 1, "b > 5": 1})


def test_rows_in_conflict_count_as_much_as_the_heaviest_rule_against_them():
    heavy = Rules([RULES.rules[0], replace(RULES.rules[1], weight=2.5)])
    score = np.full(4, 0.1, np.float32)

    whole = conflicts(heavy, X, score, 0.30)
    parts = conflicts(heavy, X[:2], score[:2], 0.30) + conflicts(heavy, X[2:], score[2:], 0.30)

    assert whole == parts == Conflicts(3, {"a < 0": 2, "b > 5": 2}, {"a < 0": 1, "b > 5": 2})
    assert heavy.weight_of(whole.heaviest) == 6.0
    signal = judge({"V3": 0.0}, whole, 6.0, z_threshold=1.0, conflict_threshold=5)
    assert signal.reasons == ("3 conflicts of weight 6 >= 5",)


def test_the_probability_itself_is_no_conflict():
    score = np.full(4, 0.3, np.float32)

    assert conflicts(RULES, X, score, 0.30).rows == 0
    assert conflicts(RULES, X, np.nextafter(score, np.float32(0)), 0.30).rows == 3


@pytest.mark.parametrize(("conflicting", "alarm"), [(19, False), (20, True)])
def test_as_many_conflicts_as_a_batch_has_rows_at_least_to_hold_them(conflicting, alarm):
    ours = settings({"watch.conflicts": 5, "watch.fidi_z": 99})
    watch = Watch(ours, model())
    rows = 4 * BATCH  # of one second, where a batch is at least a fourth of them
    x = np.zeros((rows, 3), np.float32)
    x[:conflicting, 1] = -9
    watch.take(np.full(rows, START_MS), x, np.full(rows, 0.1, np.float32), 0.3)

    said = watch.end(Thresholds.of(ours))

    assert said.conflicts.rows == conflicting
    assert said.alarm is alarm


def test_without_rules_there_is_no_conflict():
    assert conflicts(Rules(), X, np.zeros(4, np.float32), 0.3) == Conflicts()


def test_reasons_name_the_farthest_feature_first_then_the_conflicts():
    signal = judge(
        {"V3": 1.2, "V14": 2.345, "V8": 1.0}, Conflicts(7), 7, z_threshold=1.0, conflict_threshold=5
    )

    assert signal.reasons == (
        "fidi V14 z 2.35 > 1.00",
        "fidi V3 z 1.20 > 1.00",
        "7 conflicts >= 5",
    )
    assert (signal.alarm, signal.z) == (True, 2.345)


@pytest.mark.parametrize(("rows", "alarm"), [(4, False), (5, True)])
def test_enough_conflicts_are_an_alarm_by_themselves(rows, alarm):
    signal = judge({"V14": 1.0}, Conflicts(rows), rows, z_threshold=1.0, conflict_threshold=5)

    assert (signal.alarm, signal.z) == (alarm, 1.0)
