"""Labels of several sources and of chosen rows: whose word counts, and what figures can be told."""

from dataclasses import replace

import numpy as np
import pytest

from consumer.columns import Labels
from consumer.decision import decided
from consumer.decode import LabelDecoder
from consumer.early_labels import verdict
from consumer.join import Join
from consumer.sections import LabelInput
from consumer.tally import Tally
from tests.hedging import ran, said
from tests.joining import HORIZON_MS, SCHEMA, labels, plain, scores
from tests.streams import BATCH, Stream, stream

RANKS = {"chargeback": 0, "analyst": 1}
PRICES = (5000.0, (15.0,), 0.01)


@pytest.mark.parametrize(
    ("held", "new", "expected"),
    [
        ((0, 9, "analyst"), (1, 5, "chargeback"), ("conflict", True)),
        ((1, 5, "chargeback"), (0, 9, "analyst"), ("conflict", False)),
        ((1, 5, "chargeback"), (0, 9, "chargeback"), ("corrected", True)),
        ((1, 5, "analyst"), (1, 9, "chargeback"), ("confirmed", True)),
        ((1, 5, "chargeback"), (1, 9, "analyst"), ("duplicate", False)),
        ((1, 5, "mail"), (0, 9, None), ("conflict", True)),  # of equal rank, the lowest
        ((1, 5, "mail"), (0, 4, "analyst"), ("conflict", True)),
    ],
)
def test_of_two_who_disagree_the_one_of_higher_precedence_stands(held, new, expected):
    assert verdict(held, new, RANKS) == expected


@pytest.mark.parametrize("early", [False, True])
def test_an_analysts_later_word_does_not_undo_a_chargeback(early):
    join = Join(3, 2, 100, HORIZON_MS, SCHEMA, ["chargeback", "analyst"])
    said_of_a = [
        labels("a", is_fraud=0, labelled_at=1, source="analyst"),
        labels("a", is_fraud=1, labelled_at=5, source="chargeback"),
        labels("a", is_fraud=0, labelled_at=9, source="analyst"),
    ]
    if early:
        for each in said_of_a:
            join.match(each)
        joined = join.add(scores("a"))
    else:
        join.add(scores("a"))
        first, second, third = (join.match(each) for each in said_of_a)
        assert len(first.joined) == len(second.corrected) == 1
        assert len(third.corrected) == 0
        joined = second.corrected
    assert joined is not None
    assert joined.is_fraud.tolist() == [1]
    assert joined.source == ["chargeback"]
    assert join.counts["conflict"] == 2


def test_a_label_that_was_asked_for_with_a_probability_stands_for_more_rows():
    def chosen(ids, propensity):
        return Labels(
            3,
            list(ids),
            np.full(len(ids), 9),
            np.ones(len(ids), np.int8),
            ["analyst"] * len(ids),
            np.arange(len(ids)),
            np.array(propensity),
        )

    join = Join(3, 2, 100, HORIZON_MS, SCHEMA)
    join.match(chosen("c", [0.5]))
    early = join.add(scores("abc"))
    found = join.match(chosen("ab", [0.25, np.nan]))
    later = join.match(labels("a", is_fraud=0, labelled_at=10))

    assert early is not None
    assert early.weight.tolist() == [2.0]
    assert found.joined.weight.tolist() == [4.0, 1.0]
    assert later.corrected.weight.tolist() == [4.0]  # as when it was counted
    assert join.counts["chosen"] == 2

    again = Join(3, 2, 100, HORIZON_MS, SCHEMA)
    again.load(join.columns(), 10**9)
    again.resume(join.state())
    corrected = again.match(labels("b", is_fraud=0, labelled_at=10))
    assert plain(corrected.corrected) == plain(
        join.match(labels("b", is_fraud=0, labelled_at=10)).corrected
    )


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (b'"propensity": 0.25', 0.25),
        (b'"propensity": 1', 1.0),
        (b'"propensity": null', None),
        (b'"propensity": 0', "InvalidPropensity"),
        (b'"propensity": 1.5', "InvalidPropensity"),
        (b'"propensity": 1e-6', 1e-6),
        (b'"propensity": 1e-50', "InvalidPropensity"),  # 0 as a float32
        (b'"propensity": "low"', "InvalidPropensity"),
        (b'"propensity": true', "InvalidPropensity"),
    ],
)
def test_a_propensity_is_a_share_or_absent(told, expected):
    head = b'{"transaction_id": "a", "is_fraud": 1, "labelled_at": 1767225600000, '
    found, rejected = LabelDecoder(LabelInput(), 1_000)(0, [head + told + b"}"], [7], 2 * 10**12)

    if isinstance(expected, str):
        assert [each.kind for each in rejected] == [expected]
    else:
        assert rejected == []
        assert found.propensities.tolist() == pytest.approx(
            [np.nan if expected is None else expected], nan_ok=True
        )


@pytest.mark.parametrize(
    ("flags", "told", "expected"),
    [
        ({}, False, False),
        ({"input.labels.selected": True}, False, True),
        ({"input.labels.selected": True}, True, False),
    ],
)
def test_figures_of_chosen_rows_are_said_to_be_conditional(flags, told, expected):
    given = stream(10 * BATCH)
    if told:
        sure = np.full(len(given.labels), 0.5)
        given = Stream(given.transactions, replace(given.labels, propensity=sure))

    out = ran(given, flags | {"prequential.window_rows": 100, "heal.policy": "frozen"})

    windows = said(out, "prequential")
    assert [each["conditional"] for each in windows] == [expected] * 2
    assert windows[0]["healed"]["weight"] == (200 if told else 100)


def test_with_propensities_the_interval_covers_the_log_loss_of_all_rows():
    """Rows at or above .3 are reviewed, of the others one in 20: 200 times, at 95%.

    The naive figure, over whatever was labelled, never does.
    """
    draws = np.random.default_rng(2)
    label = (draws.random(10_000) < 0.1).astype(np.int8)
    logit = np.where(label == 1, 0.5, -2.5) + draws.standard_normal(10_000)
    score = 1 / (1 + np.exp(-logit))
    propensity = np.where(score >= 0.3, 1.0, 0.05)
    truth = _tally(score, label, 1.0).figures(*PRICES)["log_loss"]
    covered = naive = 0
    for _ in range(200):
        asked = draws.random(10_000) < propensity
        weighed = _tally(score[asked], label[asked], 1 / propensity[asked])
        error = weighed.standard_errors(*PRICES)["log_loss"]
        covered += abs(weighed.figures(*PRICES)["log_loss"] - truth) < 1.96 * error
        p, y = score[asked], label[asked]
        losses = -np.log(np.where(y == 1, p, 1 - p))
        naive += abs(losses.mean() - truth) < 1.96 * losses.std() / np.sqrt(len(losses))

    assert 180 <= covered <= 200
    assert naive == 0


def _tally(score, label, weight):
    made = Tally()
    made.add(score, label, decided(score, 0.5), weight)
    return made
