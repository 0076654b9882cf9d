"""The cost structure: bills, curves over thresholds, and the cheapest of three decisions."""

from dataclasses import replace

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from consumer import costs, encode, metrics
from consumer.command import SetThresholds
from consumer.costs import Bill, Curve
from consumer.decision import decided
from consumer.errors import DataError, SettingsError
from consumer.prequential import prequential
from consumer.running import Running
from consumer.sections import Cost
from consumer.threshold import Thresholds
from tests.a_run import published
from tests.streams import BATCH, FEATURES, START_MS, events, idle, running, score, settings, stream
from tests.test_running import labelled

# "Self-Healing Neural Networks in PyTorch" (2026): its confusion matrices.
HEALED = Bill(missed=99 * 5000, false_alarms=177)
FROZEN = Bill(missed=22 * 5000, false_alarms=532)

unit = st.floats(0, 1)
rows = st.lists(
    st.tuples(unit, st.booleans(), st.sampled_from([1.0, 2.0, 8.0]), st.floats(0, 1e4)),
    min_size=1,
    max_size=30,
)


def test_the_published_matrices_say_when_a_heal_pays():
    # The article says that at an FP of 200 the healed model is the cheaper one. It is not.
    assert (FROZEN.at(15), HEALED.at(15)) == (117_980, 497_655)
    assert (FROZEN.at(200), HEALED.at(200)) == (216_400, 530_400)
    price = costs.break_even(HEALED, FROZEN)
    assert price == pytest.approx(1_084.507)
    assert HEALED.at(price - 1) > FROZEN.at(price - 1)
    assert HEALED.at(price + 1) < FROZEN.at(price + 1)


@pytest.mark.parametrize("other", [HEALED, Bill(HEALED.missed + 1, 178), Bill(1, 177)])
def test_where_one_is_never_dearer_there_is_no_break_even(other):
    assert costs.break_even(HEALED, other) is None


@given(rows, unit, st.floats(0, 1e4))
@hypothesis_settings(deadline=None)
def test_the_curve_is_the_bill_at_every_threshold(drawn, threshold, price):
    columns = tuple(map(np.array, zip(*drawn, strict=True)))
    score, label, weight, missed = columns
    curve = Curve.of(score, label, missed, weight)

    for at, cost in zip(curve.threshold.tolist(), curve.cost(price), strict=True):
        assert costs.bill(decided(score, at), label, missed, weight).at(price) == pytest.approx(
            cost
        )
    # No threshold anywhere is cheaper than the one that is said to be the cheapest.
    cheapest = costs.bill(decided(score, curve.cheapest(price)), label, missed, weight).at(price)
    assert cheapest <= costs.bill(decided(score, threshold), label, missed, weight).at(price) + 1e-6
    assert (np.diff(curve.threshold) > 0).all()
    assert 0 <= curve.threshold[0] <= curve.threshold[-1] <= 1


def test_the_cheapest_threshold_may_have_a_bound():
    curve = Curve.of([0.2, 0.4, 0.6], [0, 0, 1], 5000)

    assert curve.cheapest(15) == 0.5
    assert curve.cheapest(15, below=0.5) == pytest.approx(0.3)


@given(
    st.floats(0, 1),
    st.floats(0.01, 1e4),
    st.floats(0.01, 1e3),
    st.one_of(st.none(), st.floats(0, 1e3)),
)
@hypothesis_settings(deadline=None)
def test_every_decision_is_the_cheapest_one(p, missed, false_alarm, review):
    low, high = costs.bounds(missed, false_alarm, review)
    taken = "decline" if p >= high else "review" if p >= low else "approve"

    price = {"approve": p * missed, "decline": (1 - p) * false_alarm}
    if review is not None:
        price["review"] = review
    assert price[taken] <= min(price.values()) * (1 + 1e-9) + 1e-9


def test_where_nothing_can_be_lost_only_a_certainty_is_flagged():
    low, high = costs.bounds([0.0, 5000.0], 200, 20)
    assert (low[0], high[0]) == (1.0, 1.0)
    assert costs.bounds(0.0, 0.0, 5.0) == (1.0, 1.0)
    # What costs nothing to decline is declined.
    assert costs.bounds(5000.0, 0.0, 5.0) == (0.0, 0.0)


def test_thresholds_begin_where_the_costs_have_them():
    flags = {"cost.missed_fraud": 1000, "cost.false_alarm": [100, 5]}
    fixed = settings(flags)
    plain = settings(flags | {"decision.from_costs": True})
    reviewed = settings(flags | {"decision.from_costs": True, "cost.review": 10})

    assert Thresholds.of(fixed).decision == (0.5, 0.9)
    assert Thresholds.of(plain).decision == pytest.approx((1 / 11, 1 / 11))
    assert Thresholds.of(reviewed).decision == (0.01, 0.9)


BY_AMOUNT = {"cost.amount_feature": "V3", "cost.false_alarm": [0.05], "decision.from_costs": True}


def test_each_amount_has_its_own_thresholds_up_to_the_joined_row():
    part = stream(BATCH)
    amount = np.maximum(part.transactions.x[:, FEATURES.index("V3")].astype(float), 0)
    limit = 0.05 / (0.05 + amount)

    with running(BY_AMOUNT) as pipeline:
        score(pipeline, part)
        pipeline.labels(part.labels, idle)
        out = pipeline.out.take()

    published = [orjson.loads(v) for s in out.scores for _, v in encode.scores(s, "t", "m")]
    assert [row["threshold"] for row in published] == pytest.approx(limit.tolist())
    assert {row["decision"] for row in published} == {"approve", "decline"}
    assert all((r["score"] >= r["threshold"]) == (r["decision"] != "approve") for r in published)
    joined = np.concatenate([rows.threshold for rows in out.labelled])
    assert joined.tolist() == pytest.approx(limit.tolist())


def test_no_order_sets_one_threshold_where_each_amount_has_its_own():
    with running(BY_AMOUNT) as pipeline:
        before = pipeline.healing.thresholds
        order = {"decision.threshold": 0.4, "decision.decline_threshold": 0.8}
        pipeline.governor.apply(ordered("1", order), START_MS)
        assert pipeline.healing.thresholds == before
        (refused,) = events(pipeline.out, "thresholds-refused")
        assert "each transaction's amount" in refused["reason"]
        pipeline.governor.apply(ordered("2", {"watch.fidi_z": 3}), START_MS)
        assert pipeline.healing.thresholds.watch_fidi_z == 3


def test_an_amount_that_the_model_does_not_know_is_named():
    with (
        pytest.raises(SettingsError, match="no feature 'amount'; it has V3, V14, V8"),
        running({"cost.amount_feature": "amount"}),
    ):
        pass


def weighed():
    """Joined rows whose only feature is an amount, some below 0, of weight 1 to 4."""
    rows = labelled(250, seed=4)
    draws = np.random.default_rng(5)
    amount = (200 * draws.standard_normal((250, 1)) + 150).astype(np.float32)
    return replace(rows, x=amount, weight=np.exp2(draws.integers(0, 3, 250)).astype(np.float64))


def lost_to(rows, score):
    """What the frauds under the threshold amount to, and what the false alarms weigh."""
    missed = (rows.is_fraud == 1) & (score < rows.threshold)
    alarms = (rows.is_fraud == 0) & (score >= rows.threshold)
    amount = np.maximum(rows.x[:, 0].astype(float), 0)
    return (rows.weight * amount)[missed].sum(), rows.weight[alarms].sum()


def test_running_costs_follow_the_amounts_through_restarts_and_corrections():
    cost = Cost(amount_feature="amount", false_alarm=(3.0,))
    rows = weighed()

    first = Running(100, cost, ["amount"])
    windows = first.add(rows.rows(0, 130))
    second = Running(100, cost, ["amount"])
    second.load(orjson.loads(orjson.dumps(first.state())))
    windows += second.add(rows.rows(130, 250))
    changed = rows.rows(0, 100)
    flipped = replace(changed, is_fraud=(1 - changed.is_fraud).astype(np.int8))
    second.correct(flipped, changed.is_fraud)

    for number, window in enumerate(windows):
        part = rows.rows(100 * number, 100 * number + 100)
        for measured, score_ in ((window.healed, part.score), (window.frozen, part.shadow)):
            missed, alarms = lost_to(part, score_)
            assert measured.figures["expected_cost"] == pytest.approx([missed + 3 * alarms])
    is_fraud = rows.is_fraud.copy()
    is_fraud[0:100] = flipped.is_fraud
    corrected = replace(rows, is_fraud=is_fraud)
    for measured, score_ in zip(second.so_far(), (rows.score, rows.shadow), strict=True):
        missed, alarms = lost_to(corrected, score_)
        assert measured.figures["expected_cost"] == pytest.approx([missed + 3 * alarms])
        assert measured.standard_errors["expected_cost"][0] > 0


def test_a_state_from_before_amounts_is_still_read():
    running_ = Running(100, Cost())
    running_.add(labelled(50))
    state = orjson.loads(orjson.dumps(running_.state()))
    for tally in ("healed", "frozen", "healed_before", "frozen_before"):
        del state[tally]["missed"]

    again = Running(100, Cost())
    again.load(state)

    assert again.so_far() == running_.so_far()


def test_a_report_takes_the_amounts_from_the_joined_rows():
    joined = published().labelled
    for number, row in enumerate(joined):
        row["features"]["amount"] = float(number - 100)
    rows = prequential(joined, Cost(amount_feature="amount"))

    healed, frozen = rows.bills(None)
    wrong = (rows.label == 1) & (rows.score < rows.threshold)
    assert healed.missed == np.maximum(rows.offset - 100.0, 0)[wrong].sum()
    assert healed.false_alarms == metrics.confusion(rows.score, rows.label, rows.threshold).fp
    assert frozen.missed != healed.missed


def test_joined_rows_without_the_amount_are_named():
    with pytest.raises(DataError, match=r"transactions\[0\] offset 0: .* no feature 'amount'"):
        prequential(published().labelled, Cost(amount_feature="amount"))


def ordered(command_id, thresholds):
    return SetThresholds(
        command_id=command_id,
        issued_at=START_MS,
        issued_by="ops",
        why="why",
        thresholds={name: float(value) for name, value in thresholds.items()},
    )
