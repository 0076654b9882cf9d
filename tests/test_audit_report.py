"""What goes into a page is text, and what is missing is said."""

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer import plain_words
from consumer.audit_events import Checked
from consumer.audit_report import Period, page
from consumer.chain import NO_DECISION, Head, seal
from consumer.events import _SHAPES, Events
from consumer.markup import printable, tag
from consumer.registry import Place
from consumer.restore import Activations
from tests.streams import START_MS, settings


def rendered(*events, wrong=()):
    checked = Checked(Head(), wrong=list(wrong))
    return ET.fromstring(page(settings(), events, checked, {}, Period()))


def event(action="rollback", **fields):
    return Events("reflexive", "0").at(Place("t", 0, 1, START_MS), action, "said", **fields)


def told(element):
    return "".join(element.itertext())


@given(st.text(), st.text())
def test_any_text_stays_text(content, attribute):
    found = ET.fromstring(tag("p", content, title=attribute))

    line_ends = {"\r\n": "\n", "\r": "\n"}  # as XML reads them
    expected = printable(content)
    for one, other in line_ends.items():
        expected = expected.replace(one, other)
    assert (found.text or "") == expected
    assert not list(found)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda of: st.lists(of)))
def test_any_evidence_can_be_told(value):
    assert len(list(rendered(event(reason=value)).iter("article"))) == 1


def test_without_decisions_and_labels_that_is_what_it_says():
    said = told(rendered())

    assert "none in this period" in said
    assert "no window" in said
    assert "Nothing to draw" in said


def test_what_began_at_a_cut_within_a_batch_was_in_force_too():
    batch = Events("reflexive", "0").at(
        Place("t", 0, 199, START_MS), "batch-monitored", "said", first_offset=100, batch=2, rows=100
    )
    records = [{"version": version, "weights": {"frozen": 1.0}} for version in (1, 2, 3, 4)]
    began = {0: Activations([0, 100, 130, 200], records)}

    said = told(ET.fromstring(page(settings(), [batch], Checked(Head()), began, Period())))

    assert ("v2" in said, "v3" in said) == (True, True)
    assert ("v1" in said, "v4" in said) == (False, False)


def test_a_chain_that_is_not_whole_is_said_first():
    found = rendered(event(), wrong=["decision 3 missing"])

    assert "not whole" in told(found)
    assert "decision 3 missing" in told(found)


def test_a_decision_in_the_chain_and_one_outside_are_told_apart():
    (sealed,), _ = seal([event()], Head())
    inside, outside = map(told, rendered(sealed, event()).iter("article"))

    assert "decision 1 ·" in inside
    assert "outside the chain" in outside


@pytest.mark.parametrize(
    "action", sorted(a for a, shape in _SHAPES.items() if shape.kind != "metric")
)
def test_every_kind_of_decision_is_told_in_plain_words(action):
    (of_name,) = [plain_words.Plain(action.replace("-", " ").capitalize(), "")]

    assert (plain_words.of(action) == of_name) is (action in NO_DECISION)
