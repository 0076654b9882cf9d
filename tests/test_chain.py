"""The chain of decisions: numbered without a gap, each with the hash of the one before."""

import hashlib
import json

import orjson
import pytest

from consumer import chain, encode
from consumer.chain import Head
from consumer.events import _SHAPES, Events
from consumer.registry import Place
from tests.pipelines import INLINE, drifting
from tests.schemas import FOLDER, conforms
from tests.streams import START_MS, labels_of, running, score

EXAMPLES = sorted(
    (json.loads(file.read_text()) for file in FOLDER.glob("event*.example.json")),
    key=lambda event: event["reflexive"].get("sequence", 0),
)


def said(actions):
    events = Events("reflexive", "0")
    return [events.at(Place("t", 0, at, START_MS), one, "said") for at, one in enumerate(actions)]


def assert_linked(events, start):
    """By nothing but the published bytes."""
    number, before = start.sequence, start.sha256
    for event in filter(chain.is_decision, events):
        value = encode.event(event)
        number += 1
        assert orjson.loads(value)["reflexive"]["sequence"] == number
        assert orjson.loads(value)["reflexive"]["previous"] == before
        before = hashlib.sha256(value).hexdigest()
    return Head(number, before)


def test_each_decision_has_its_number_and_the_hash_of_the_one_before():
    events, head = chain.seal(said(["rollback", "batch-monitored", "less-sure"]), Head())

    assert [e["reflexive"].get("sequence") for e in events] == [1, None, 2]
    assert events[0]["reflexive"]["previous"] == "0" * 64
    assert head == assert_linked(events, Head())
    for event in events:
        conforms("event", orjson.loads(encode.event(event)))


def test_it_goes_on_from_any_head_and_changes_no_id():
    made = said(["heal-deployed"] * 5)
    whole, end = chain.seal(made, Head())
    first, between = chain.seal(made[:2], Head())
    rest, again = chain.seal(made[2:], between)

    assert (first + rest, again) == (whole, end)
    assert [e["event"] for e in whole] == [e["event"] for e in made]


@pytest.mark.parametrize("action", sorted(_SHAPES))
def test_what_is_measured_or_said_of_a_process_is_no_decision(action):
    (event,) = said([action])
    no_decision = {"batch-monitored", "batch-labelled", "prequential", *chain.NO_DECISION}

    assert chain.is_decision(event) is (action not in no_decision)
    assert set(_SHAPES) >= chain.NO_DECISION


def test_who_heals_seals_over_any_number_of_hand_overs():
    with running(INLINE) as pipeline:
        events = pipeline.take().events
        for batch in drifting(6):
            score(pipeline, batch)
            labels_of(pipeline, batch)
            events += pipeline.take().events

        assert pipeline.head == assert_linked(events, Head())
        assert pipeline.head.sequence > 6


def test_who_does_not_heal_seals_nothing():
    with running(INLINE, partitions=(1,)) as pipeline:
        for batch in drifting(6, partition=1):
            score(pipeline, batch)
            labels_of(pipeline, batch)
        events = pipeline.take().events

        assert list(filter(chain.is_decision, events))
        assert not any("sequence" in event["reflexive"] for event in events)
        assert pipeline.head == Head()


def test_what_a_healer_says_while_it_hands_over_is_not_in_the_chain():
    with running(INLINE) as pipeline:
        for batch in drifting(6):
            score(pipeline, batch)
            labels_of(pipeline, batch)
        pipeline.take()
        head = pipeline.head
        pipeline.warn("thresholds-refused", "said before the next healer begins", START_MS)
        pipeline.revoke([0], START_MS)
        events = pipeline.take().events

        assert list(filter(chain.is_decision, events))
        assert pipeline.head == head


def test_the_examples_of_decisions_are_a_chain():
    decided = [event for event in EXAMPLES if chain.is_decision(event)]

    assert len(decided) > 3
    assert_linked(decided, Head())
