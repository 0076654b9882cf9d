"""Figures over columns: by hand, against the definitions, and on whatever hypothesis draws."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.metrics import (
    FIGURES,
    Confusion,
    average_precision,
    break_even,
    brier,
    confusion,
    expected_cost,
    figures,
    log_loss,
)

# Few distinct scores, so that ties are the rule; weights as the join's sampling gives them.
rows = st.lists(
    st.tuples(
        st.integers(0, 8).map(lambda eighths: eighths / 8),
        st.integers(0, 1),
        st.sampled_from([1.0, 2.0, 4.0]),
    ),
    min_size=1,
    max_size=40,
)


def columns(drawn):
    return tuple(np.array(column) for column in zip(*drawn, strict=True))


def average_precision_by_definition(score, label, weight):
    """Sum over every distinct threshold of (recall gained) x (precision there)."""
    area, recall_before = 0.0, 0.0
    for threshold in sorted(set(score), reverse=True):
        counts = confusion(score, label, threshold, weight)
        area += (counts.recall - recall_before) * counts.precision
        recall_before = counts.recall
    return area


def test_rows_at_the_threshold_are_flagged():
    assert confusion([0.5, 0.49999], [1, 1], 0.5) == Confusion(tp=1, tn=0, fp=0, fn=1)


def test_a_threshold_may_differ_between_rows():
    assert confusion([0.6, 0.6], [1, 1], [0.5, 0.7]) == Confusion(tp=1, tn=0, fp=0, fn=1)


def test_the_published_confusion_gives_the_published_rates():
    counts = Confusion(tp=51, tn=673, fp=177, fn=99)

    rates = (counts.accuracy, counts.precision, counts.recall, counts.f1)

    assert [round(rate, 3) for rate in rates] == [0.724, 0.224, 0.340, 0.270]


@pytest.mark.parametrize(
    "counts", [Confusion(0, 0, 0, 0), Confusion(tp=0, tn=9, fp=0, fn=0)], ids=["empty", "all legit"]
)
def test_undefined_rates_are_zero(counts):
    assert (counts.precision, counts.recall, counts.f1) == (0.0, 0.0, 0.0)


def test_log_loss_by_hand():
    assert log_loss([0.8, 0.4], [1, 0]) == pytest.approx(-(math.log(0.8) + math.log(0.6)) / 2)


def test_a_sure_mistake_costs_sixteen_nats_and_not_infinity():
    assert log_loss([0.0, 1.0], [1, 0]) == pytest.approx(16.118, abs=1e-3)


def test_brier_by_hand():
    assert brier([0.8, 0.4], [1, 0]) == pytest.approx((0.04 + 0.16) / 2)


def test_average_precision_by_hand():
    # By falling score: fraud, legit, fraud, legit. Precision where a fraud enters: 1/1 and 2/3.
    assert average_precision([0.9, 0.8, 0.7, 0.1], [1, 0, 1, 0]) == pytest.approx((1 + 2 / 3) / 2)


def test_average_precision_lets_tied_rows_enter_together():
    # All four at once: recall jumps from 0 to 1 at precision 1/2, whatever their order.
    assert average_precision([0.3] * 4, [1, 0, 0, 1]) == average_precision([0.3] * 4, [0, 0, 1, 1])
    assert average_precision([0.3] * 4, [1, 0, 0, 1]) == 0.5


def test_average_precision_is_undefined_without_frauds():
    assert average_precision([0.3, 0.9], [0, 0]) is None
    assert average_precision([], []) is None


def test_expected_cost_of_the_published_run():
    healed, frozen = Confusion(51, 673, 177, 99), Confusion(128, 318, 532, 22)

    assert expected_cost(frozen, 5000, 200) == 216_400
    assert expected_cost(healed, 5000, 200) == 530_400


def test_at_the_break_even_price_both_models_cost_the_same():
    healed, frozen = Confusion(51, 673, 177, 99), Confusion(128, 318, 532, 22)

    price = break_even(healed, frozen, 5000)

    assert price == pytest.approx(77 * 5000 / 355)
    assert expected_cost(healed, 5000, price) == pytest.approx(expected_cost(frozen, 5000, price))


def test_no_break_even_where_one_model_is_cheaper_at_every_price():
    better = Confusion(tp=9, tn=9, fp=1, fn=1)
    worse = Confusion(tp=8, tn=8, fp=2, fn=2)

    assert break_even(better, worse, 5000) is None
    assert break_even(better, better, 5000) is None


def test_figures_have_the_keys_of_the_schemas_and_plain_numbers():
    found = figures(np.array([0.9, 0.2], np.float32), np.array([1, 0]), 0.5)

    assert list(found) == ["rows", *FIGURES]
    assert type(found["rows"]) is int
    assert {type(found[name]) for name in FIGURES} == {float}


def test_figures_without_rows_claim_nothing():
    assert figures([], [], 0.5) == {"rows": 0, **dict.fromkeys(FIGURES)}


@given(rows)
def test_average_precision_is_its_definition(drawn):
    score, label, weight = columns(drawn)

    found = average_precision(score, label, weight)

    if label.any():
        assert found == pytest.approx(average_precision_by_definition(score, label, weight))
    else:
        assert found is None


@given(rows, st.randoms(use_true_random=False))
def test_figures_do_not_depend_on_the_order_of_rows(drawn, random):
    shuffled = list(drawn)
    random.shuffle(shuffled)

    straight = figures(*columns(drawn)[:2], 0.5, columns(drawn)[2])
    mixed = figures(*columns(shuffled)[:2], 0.5, columns(shuffled)[2])

    assert mixed == pytest.approx(straight)


@given(rows)
def test_a_weight_of_n_is_the_row_n_times(drawn):
    score, label, weight = columns(drawn)
    times = weight.astype(int)

    weighted = figures(score, label, 0.5, weight)
    repeated = figures(np.repeat(score, times), np.repeat(label, times), 0.5)

    assert {n: weighted[n] for n in FIGURES} == pytest.approx({n: repeated[n] for n in FIGURES})


@given(rows)
def test_confusion_accounts_for_every_row(drawn):
    score, label, weight = columns(drawn)

    counts = confusion(score, label, 0.5, weight)

    assert sum(counts) == weight.sum()
    assert counts.tp + counts.fn == weight[label == 1].sum()
    assert counts.tp + counts.fp == weight[score >= 0.5].sum()


def test_no_break_even_where_only_false_alarms_differ() -> None:
    fewer, more = Confusion(tp=1, tn=9, fp=1, fn=1), Confusion(tp=1, tn=8, fp=2, fn=1)
    assert break_even(fewer, more, 5000) is None
