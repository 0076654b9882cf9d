"""Rules: what is read, what fires, what is refused."""

import operator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.errors import ModelError
from consumer.manifest import RuleTable, parsed
from consumer.rule_text import DEEPEST, LONGEST
from consumer.rules import Rules, parse

FEATURES = ["V14", "amount", "hour", "a.b", "card-age", "card"]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("V14 < -1.5", "V14 < -1.5"),
        ("amount>=1e3", "amount >= 1000"),
        ("  hour\t<= 5 ", "hour <= 5"),
        ("a.b > .5", "a.b > 0.5"),
        ("card-age>2", "card-age > 2"),
        ("card - amount > 2", "card - amount > 2"),
        ("V14<-1.5 and(amount>100 or not hour<6)", "V14 < -1.5 and (amount > 100 or not hour < 6)"),
        ("-V14 * 2 + amount/hour > - -1", "-V14 * 2 + amount / hour > --1"),
    ],
)
def test_a_rule_is_kept_in_one_way_of_writing_it(text, kept):
    assert str(parse(text, FEATURES)) == kept
    assert str(parse(kept, FEATURES)) == kept


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "expected a feature or a number at the beginning, found the end"),
        ("V14", "expected a comparison, such as FEATURE < NUMBER"),
        ("V14 < ", "expected a feature or a number after '<', found the end"),
        ("< 3", "expected a feature or a number at the beginning, found '<'"),
        ("V14 == 3", "'==' is no feature, number or operator"),
        ("V14 ^ 3 > 1", "'^' is no feature, number or operator"),
        ("V14 < 3 4", "'4' is not expected after '3'"),
        ("V14 < three", "no feature 'three' among V14, amount"),
        ("V14 < nan", "no feature 'nan'"),
        ("V14 > 1e99", "the number 1e99 must be finite"),
        ("V9 < 1", "no feature 'V9' among V14, amount"),
        ("(V14 < 1", "expected ) after '1'"),
        ("V14 < 1)", "')' is not expected after '1'"),
        ("0 < V14 < 1", "two comparisons in a row (< and <): join them by `and`"),
        ("V14 and hour > 1", "'and' joins comparisons, and 'V14' is none"),
        ("(V14 > 1) + 2 > 1", "'+' joins numbers, and '(V14 > 1)' is none"),
        ("not V14", "'not' joins comparisons, and 'V14' is none"),
        ("V14 < __import__('os')", "\"'os')\" is no feature, number or operator"),
        ("V14 < __import__(hour)", "no feature '__import__'"),
        ("V14 > exp(1)", "no feature 'exp'"),
        ("(" * 99 + "V14", f"nested more than {DEEPEST} deep"),
        ("not " * 99 + "V14 > 1", f"nested more than {DEEPEST} deep"),
        ("V14 > " + "-" * 99 + "1", f"nested more than {DEEPEST} deep"),
        ("V14 > 1 or " * 99 + "V14 > 2", f"longer than {LONGEST:,} characters"),
    ],
)
def test_what_is_no_rule_is_refused_in_a_line(text, why):
    with pytest.raises(ModelError) as error:
        parse(text, FEATURES)
    assert why in str(error.value)
    assert str(error.value).startswith(f"rule {text[:40]!r}"[:30])
    assert "\n" not in str(error.value)


COMPARISONS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
numbers = st.recursive(
    st.sampled_from(["a", "b", "2", "0.5", "3e1"]),
    lambda inner: st.one_of(
        st.builds("{} {} {}".format, inner, st.sampled_from("+-*/"), inner),
        st.builds("-{}".format, inner),
        st.builds("({})".format, inner),
    ),
    max_leaves=5,
)
conditions = st.recursive(
    st.builds("{} {} {}".format, numbers, st.sampled_from(list(COMPARISONS)), numbers),
    lambda inner: st.one_of(
        st.builds("{} {} {}".format, inner, st.sampled_from(["and", "or"]), inner),
        st.builds("not {}".format, inner),
        st.builds("({})".format, inner),
    ),
    max_leaves=4,
)


@given(conditions)
def test_a_condition_means_what_python_means_by_it(text):
    x = np.array([[1.5, -2], [-0.25, 3], [0, 1]], np.float32)

    fired = Rules([parse(text, ["a", "b"])]).fired(x)[:, 0].tolist()

    for (a, b), one in zip(x.tolist(), fired, strict=True):
        try:
            assert one == eval(text, {}, {"a": a, "b": b})
        except ZeroDivisionError:
            continue  # numpy has an infinity there


def test_what_has_no_value_compares_as_false():
    x = np.array([[0.0, 0.0], [1.0, 0.0]], np.float32)

    fired = parsed(["a / b > 1", "a / b <= 1"], ["a", "b"]).fired(x)

    assert fired.tolist() == [[False, False], [True, False]]


def test_each_rule_has_its_column():
    rules = parsed(["b < 0", "a > 1"], ["a", "b"])

    fired = rules.fired(np.array([[2, -1], [0, -1], [2, 1]], np.float32))

    assert fired.tolist() == [[True, True], [True, False], [False, True]]
    assert rules.heaviest(fired).tolist() == [0, 0, 1]


def test_the_number_is_compared_in_the_features_own_precision():
    # 0.1 as float32 is above 0.1 as float64: to the model it is the same number.
    x = np.array([[0.1]], np.float32)

    assert parsed(["a <= 0.1"], ["a"]).fired(x).tolist() == [[True]]
    assert parsed(["a > 0.1"], ["a"]).fired(x).tolist() == [[False]]


def test_without_rules_nothing_fires():
    fired = Rules().fired(np.zeros((2, 1), np.float32))

    assert (fired.shape, len(Rules())) == ((2, 0), 0)
    assert Rules().weights(fired).tolist() == [1, 1]


def test_named_rules_have_weights_and_names_of_their_own():
    named = RuleTable(name="night", when="hour < 6", weight=2.0)

    first, second = parsed([named, "amount > 9"], FEATURES).rules

    assert (first.name, first.weight, first.condition.text) == ("night", 2.0, "hour < 6")
    assert (second.name, second.weight) == ("amount > 9", 1.0)
    with pytest.raises(ModelError, match="two rules are called 'night'"):
        parsed([named, named], FEATURES)
