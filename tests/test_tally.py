"""Figures from sums: equal to those of `metrics`, whatever the chunks, restarts and corrections."""

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer import metrics
from consumer.decision import APPROVE, DECLINE, REVIEW, decided
from consumer.tally import Tally
from tests.chunks import chunked

PRICES = (5000.0, (15.0, 200.0), 0.01)
MEANS = ("accuracy", "precision", "recall", "f1", "log_loss", "brier")


def drawn(rows, seed, *, frauds=0.15, spread=2.0):
    """Columns of a model that is right more often than not: score, label, threshold."""
    draws = np.random.default_rng(seed)
    label = (draws.random(rows) < frauds).astype(np.int8)
    logit = np.where(label == 1, 1.0, -2.0) + spread * draws.standard_normal(rows)
    score = (1 / (1 + np.exp(-logit))).astype(np.float32)
    return score, label, np.where(np.arange(rows) < rows // 2, 0.5, 0.6)


def tally(score, label, threshold, weight=1.0):
    made = Tally()
    made.add(score, label, decided(score, threshold), weight)
    return made


def flat(found):
    """Each price's cost under a name of its own, for pytest.approx; nan for None."""
    costs = found["expected_cost"] or (None, None)
    names = dict(zip(("cost at 15", "cost at 200"), costs, strict=True))
    every = {**found, **names}
    del every["expected_cost"]
    return {name: np.nan if value is None else value for name, value in every.items()}


def recall_at(score, label, share):
    """By definition: among the highest `share` of rows, whose number is whole here."""
    top = np.argsort(-score, kind="stable")[: round(share * len(score))]
    return label[top].sum() / label.sum()


@pytest.mark.parametrize("seed", range(5))
def test_figures_are_those_of_metrics(seed):
    score, label, threshold = drawn(3_000, seed)
    weight = np.random.default_rng(seed).choice([1.0, 8.0, 16.0], 3_000)

    found = tally(score, label, threshold, weight).figures(*PRICES)

    expected = metrics.figures(score, label, threshold, weight)
    counts = metrics.confusion(score, label, threshold, weight)
    assert {n: found[n] for n in MEANS} == pytest.approx(
        {n: expected[n] for n in MEANS}, rel=1e-12, abs=0
    )
    assert (found["rows"], found["weight"]) == (3_000, weight.sum())
    assert found["expected_cost"] == [metrics.expected_cost(counts, 5000, p) for p in (15, 200)]


def test_rows_at_the_threshold_are_flagged():
    made = tally([0.5, 0.49999], [1, 1], 0.5)

    assert made.counts == metrics.confusion([0.5, 0.49999], [1, 1], 0.5)
    assert made.counts.tp == 1


@pytest.mark.parametrize("frauds", [0.01, 0.15, 0.5])
@pytest.mark.parametrize("spread", [0.3, 2.0, 6.0])
@pytest.mark.parametrize("seed", range(4))
def test_ranks_from_bins_are_close_to_those_of_rows(frauds, spread, seed):
    score, label, threshold = drawn(20_000, seed, frauds=frauds, spread=spread)
    weight = np.random.default_rng(seed).choice([1.0, 8.0], 20_000)

    unweighted = tally(score, label, threshold).figures(*PRICES)
    weighted = tally(score, label, threshold, weight).figures(*PRICES)

    ap = metrics.average_precision
    assert unweighted["average_precision"] == pytest.approx(ap(score, label), abs=0.01)
    assert weighted["average_precision"] == pytest.approx(ap(score, label, weight), abs=0.01)
    assert unweighted["recall_at_capacity"] == pytest.approx(
        recall_at(score, label, 0.01), abs=0.01
    )


def test_ranks_are_exact_where_scores_lie_in_bins_of_their_own():
    score = np.array([0.0, 1e-5, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1 - 1e-5, 1.0])
    label = np.array([0, 0, 0, 1, 0, 1, 0, 1, 0, 1])
    made = tally(score, label, 0.5)

    assert made.figures(*PRICES)["average_precision"] == pytest.approx(
        metrics.average_precision(score, label), rel=1e-12
    )
    for share, recall in ((0.1, 1 / 4), (0.2, 1 / 4), (0.5, 3 / 4), (1.0, 1)):
        assert made.figures(0, (), share)["recall_at_capacity"] == pytest.approx(recall)


def test_of_tied_rows_at_the_capacity_the_mean_of_all_orders_counts():
    # Two of the four highest, of which one is a fraud, fit in: half a fraud of two.
    made = tally([0.9] * 4 + [0.1] * 4, [1, 0, 0, 0, 1, 0, 0, 0], 0.5)

    assert made.figures(0, (), 0.25)["recall_at_capacity"] == pytest.approx(0.25)


def test_what_is_undefined_is_none_or_as_in_metrics():
    empty = Tally().figures(*PRICES)
    assert (empty.pop("rows"), empty.pop("weight")) == (0, 0.0)
    assert set(empty.values()) == {None}
    assert set(Tally().standard_errors(*PRICES).values()) == {None}
    assert list(Tally().figures(*PRICES)) == list(tally([0.5], [1], 0.5).figures(*PRICES))

    legit = tally([0.3, 0.9], [0, 0], 1.0)
    found, errors = legit.figures(*PRICES), legit.standard_errors(*PRICES)
    assert (found["precision"], found["recall"], found["f1"]) == (0.0, 0.0, 0.0)
    assert found["average_precision"] is found["recall_at_capacity"] is None
    assert errors["recall"] is errors["average_precision"] is errors["recall_at_capacity"] is None


def test_a_row_taken_out_leaves_no_trace():
    score, label, threshold = drawn(50, 1)
    made = tally(score, label, threshold, 8.0)
    before, errors_before = flat(made.figures(*PRICES)), flat(made.standard_errors(*PRICES))

    made.add([0.99], [0], [REVIEW], 8.0)
    made.add([0.99], [0], [REVIEW], -8.0)

    assert flat(made.figures(*PRICES)) == pytest.approx(before, rel=1e-12)
    assert flat(made.standard_errors(*PRICES)) == pytest.approx(errors_before, rel=1e-9)


def test_taking_everything_out_leaves_nothing():
    score, label, threshold = drawn(50, 1)
    made = tally(score, label, threshold, 3.0)

    made.add(score, label, decided(score, threshold), -3.0)

    assert made.figures(*PRICES) == Tally().figures(*PRICES)


def test_it_knows_whether_rows_were_sampled():
    assert not Tally().sampled
    made = tally([0.2, 0.8], [0, 1], 0.5)
    assert not made.sampled
    made.add([0.7], [1], [DECLINE], 4.0)
    assert made.sampled
    made.add([0.7], [1], [DECLINE], -4.0)
    assert not made.sampled


# Scores that bits could be lost of, and weights that do not add up without rounding.
rows = st.lists(
    st.tuples(
        st.floats(0, 1, width=32),
        st.integers(0, 1),
        st.sampled_from([APPROVE, REVIEW, DECLINE]),
        st.sampled_from([1.0, 8.0, 1.1, 3.3]),
    ),
    max_size=60,
)


def columns(given_rows):
    return tuple(np.array(c, np.float64) for c in zip(*given_rows, strict=True))


@settings(max_examples=300)
@given(rows, st.lists(st.integers(0, 20), min_size=1, max_size=5), st.integers(0, 60))
def test_chunks_and_a_restart_change_no_bit(given_rows, sizes, restart_at):
    whole = Tally()
    parts = Tally()
    if given_rows:
        whole.add(*columns(given_rows))
    done = 0
    for chunk in chunked(given_rows, sizes):
        if chunk:
            parts.add(*columns(chunk))
        if done < restart_at <= done + len(chunk):
            parts = Tally.from_state(orjson.loads(orjson.dumps(parts.state())))
        done += len(chunk)

    assert orjson.dumps(parts.state()) == orjson.dumps(whole.state())
    assert parts.figures(*PRICES) == whole.figures(*PRICES)
    assert parts.standard_errors(*PRICES) == whole.standard_errors(*PRICES)


@pytest.mark.parametrize("size", [1, 7, 8, 9, 129, 1000])
def test_long_chunks_change_no_bit_either(size):
    score, label, threshold = drawn(5_000, 3)
    weight = np.random.default_rng(3).random(5_000) * 10
    parts = Tally()

    for part in chunked(np.arange(5_000), [size]):
        made = decided(score[part], threshold[part])
        parts.add(score[part], label[part], made, weight[part])

    whole = tally(score, label, threshold, weight)
    assert orjson.dumps(parts.state()) == orjson.dumps(whole.state())


@given(rows, rows)
def test_merging_is_adding_the_rows_of_both(first, second):
    one, other, both = Tally(), Tally(), Tally()
    for made, taken in ((one, first), (other, second), (both, first + second)):
        if taken:
            made.add(*columns(taken))
    merged = one.merged(other)

    assert flat(merged.figures(*PRICES)) == pytest.approx(
        flat(both.figures(*PRICES)), rel=1e-9, abs=1e-12, nan_ok=True
    )
    assert merged.rows == both.rows
    assert one.merged(Tally()).state() == one.state()


def test_a_state_holds_only_the_bins_that_are_in_use():
    one = tally([0.3, 0.3001, 0.9], [0, 1, 1], 0.5, 8.0)

    assert [len(one.state()["bins"]), len(Tally().state()["bins"])] == [2, 0]
    score, label, threshold = drawn(100_000, 1, spread=9.0)
    full = tally(score, label, threshold, 16.0)
    assert len(full.state()["bins"]) == 256
    assert len(orjson.dumps(full.state())) < 15_000


SAMPLES = 300
ERRORS = (*MEANS, "average_precision", "recall_at_capacity", "cost at 15", "cost at 200")


@pytest.mark.parametrize("one_in", [8, 16])
def test_a_sample_is_within_two_standard_errors_of_the_stream_as_often_as_it_should(one_in):
    score, label, threshold = drawn(16_000, 11)
    whole = flat(tally(score, label, threshold).figures(*PRICES))
    draws = np.random.default_rng(one_in)
    within = dict.fromkeys(ERRORS, 0)
    distance, claimed = {n: [] for n in ERRORS}, {n: [] for n in ERRORS}
    for _ in range(SAMPLES):
        kept = draws.random(len(score)) < 1 / one_in
        made = tally(score[kept], label[kept], threshold[kept], float(one_in))
        found, errors = flat(made.figures(*PRICES)), flat(made.standard_errors(*PRICES))
        for name in ERRORS:
            within[name] += abs(found[name] - whole[name]) <= 2 * errors[name]
            distance[name].append(found[name] - whole[name])
            claimed[name].append(errors[name])

    # 95% of normal draws lie within two; an eighth is known, which makes it 97%. A standard
    # error a third too small would give 85%.
    assert {n: share for n, count in within.items() if (share := count / SAMPLES) < 0.91} == {}
    # Not by being too large either: the claimed one is the spread that samples do have.
    for name in ERRORS:
        assert np.mean(claimed[name]) / np.std(distance[name]) == pytest.approx(1.07, abs=0.22), (
            name
        )


def test_standard_errors_of_equal_tallies_are_equal():
    score, label, threshold = drawn(500, 2)

    first, second = (tally(score, label, threshold, 8.0).standard_errors(*PRICES) for _ in "ab")

    assert first == second


def test_the_standard_error_of_a_mean_by_hand():
    # Right, right, right, wrong at weight 2: mean 3/4, sum w^2 (l - mean)^2 = 4 (3/16 + 9/16) = 3.
    made = tally([0.9, 0.8, 0.1, 0.4], [1, 1, 0, 1], 0.5, 2.0)

    assert made.standard_errors(*PRICES)["accuracy"] == pytest.approx(3**0.5 / 8)
    assert made.standard_errors(*PRICES)["expected_cost"] == pytest.approx([2 * 5000.0] * 2)
