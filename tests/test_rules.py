"""Rules: what is read, what fires, what is refused."""

import numpy as np
import pytest

from consumer.errors import ModelError
from consumer.rules import Rule, Rules, parse


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("V14 < -1.5", Rule("V14", "<", -1.5)),
        ("amount>=1e3", Rule("amount", ">=", 1000.0)),
        ("  hour\t<= 5 ", Rule("hour", "<=", 5.0)),
        ("a.b > 0", Rule("a.b", ">", 0.0)),
    ],
)
def test_a_rule_is_feature_operator_number(text, rule):
    assert parse(text) == rule


@pytest.mark.parametrize(
    "text",
    ["", "V14", "V14 < ", "< 3", "V14 == 3", "V14 < 3 4", "V14 < three", "V14 < nan", "V14 > inf"],
)
def test_what_is_no_rule_is_refused_by_its_text(text):
    with pytest.raises(ModelError, match="rule ") as error:
        parse(text)
    assert repr(text) in str(error.value)


def test_a_rule_is_no_code():
    with pytest.raises(ModelError, match="is not a number"):
        parse("V14 < __import__('os').getpid()")


def test_an_unknown_feature_is_named_with_those_there_are():
    with pytest.raises(ModelError, match="no feature 'V9' among V3, V14"):
        Rules([parse("V9 < 1")], ["V3", "V14"])


@pytest.mark.parametrize(
    ("op", "fired"),
    [
        ("<", [True, False, False]),
        ("<=", [True, True, False]),
        (">", [False, False, True]),
        (">=", [False, True, True]),
    ],
)
def test_each_operator_on_its_own_column(op, fired):
    x = np.array([[9, -1], [9, 0], [9, 1]], np.float32)

    assert Rules([Rule("b", op, 0.0)], ["a", "b"]).fired(x).tolist() == [[f] for f in fired]


def test_each_rule_has_its_column():
    rules = Rules([parse("b < 0"), parse("a > 1")], ["a", "b"])

    fired = rules.fired(np.array([[2, -1], [0, -1], [2, 1]], np.float32))

    assert fired.tolist() == [[True, True], [True, False], [False, True]]


def test_the_number_is_compared_in_the_features_own_precision():
    # 0.1 as float32 is above 0.1 as float64: to the model it is the same number.
    x = np.array([[0.1]], np.float32)

    assert Rules([parse("a <= 0.1")], ["a"]).fired(x).tolist() == [[True]]
    assert Rules([parse("a > 0.1")], ["a"]).fired(x).tolist() == [[False]]


def test_without_rules_nothing_fires():
    assert Rules([], ["a"]).fired(np.zeros((2, 1), np.float32)).shape == (2, 0)
    assert len(Rules([], ["a"])) == 0
