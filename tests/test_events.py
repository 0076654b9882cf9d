"""Events: an id for each decision that a replay makes again, in a shape others can index."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.events import _SHAPES, Events, iso8601
from consumer.registry import Place
from tests.schemas import FOLDER, conforms
from tests.streams import START_MS


def at(events, offset, action="heal-requested", partition=0, topic="transactions", **fields):
    place = Place(topic, partition, offset, START_MS + offset)
    return events.at(place, action, "said", **fields)


def ids(made):
    return [event["event"]["id"] for event in made]


def ours(application="reflexive", instance="0"):
    return Events(application, instance)


def test_an_event_has_the_shape_that_its_schema_says():
    event = at(ours(), 250, "drift-detected", reasons=["fidi V14 z 1.45 > 1.00"], batch=3)

    conforms("event", event)
    assert event["@timestamp"] == "2026-01-01T00:00:00.250Z"
    assert event["event"]["kind"] == "alert"
    assert event["service"]["name"] == "reflexive"
    assert event["reflexive"] == {
        "topic": "transactions",
        "partition": 0,
        "offset": 250,
        "reasons": ["fidi V14 z 1.45 > 1.00"],
        "batch": 3,
    }


def test_what_a_process_says_of_itself_names_it():
    event = ours(instance="pod-1").of_process(START_MS, "consumer-started", "said")

    conforms("event", event)
    assert event["service"]["node"] == {"name": "pod-1"}
    assert "node" not in at(ours(), 1, "rollback")["service"]


@pytest.mark.parametrize("action", sorted(_SHAPES))
def test_every_kind_conforms(action):
    conforms("event", at(ours(), 1, action))
    conforms("event", ours().of_process(START_MS, action, "said"))


def test_the_schema_knows_no_kind_that_is_never_made():
    schema = json.loads((FOLDER / "event.schema.json").read_text())

    known = schema["properties"]["event"]["properties"]["action"]["enum"]
    assert sorted(known) == sorted(_SHAPES)


places = st.tuples(
    st.integers(0, 2), st.integers(0, 3), st.sampled_from(["rollback", "heal-deployed"])
)


@given(st.lists(places, max_size=30))
def test_a_replay_makes_the_same_events(decisions):
    decisions.sort()

    once, again = (
        [at(events, offset, action, partition) for partition, offset, action in decisions]
        for events in (ours(), ours(instance="1"))
    )

    assert once == again
    assert len(set(ids(once))) == len(once)


def test_a_second_event_of_a_kind_at_a_place_has_an_ordinal():
    first, second = at(events := ours(), 5), at(events, 5)

    assert first["event"]["id"] != second["event"]["id"]
    assert {**first, "event": 0} == {**second, "event": 0}


def test_a_restart_in_between_changes_no_id():
    before = ours()
    whole = [at(before, offset) for offset in (5, 5, 9, 9)]

    after = ours()
    assert ids(whole[2:]) == ids([at(after, offset) for offset in (9, 9)])


@pytest.mark.parametrize(
    "other",
    [
        {"offset": 6},
        {"partition": 1},
        {"topic": "labels"},
        {"action": "heal-discarded"},
    ],
)
def test_another_place_or_kind_is_another_id(other):
    assert ids([at(ours(), **({"offset": 5} | other))]) != ids([at(ours(), 5)])


def test_another_application_is_another_id():
    assert ids([at(ours("other"), 5)]) != ids([at(ours(), 5)])


def test_a_processes_own_events_are_never_the_same():
    events, other = ours(), ours(instance="1")

    made = [e.of_process(START_MS, "consumer-started", "up") for e in (events, events, other)]

    assert len(set(ids(made))) == 3
    assert {event["@timestamp"] for event in made} == {"2026-01-01T00:00:00.000Z"}


@given(st.integers(946_684_800_000, 4_102_444_800_000))
def test_times_keep_their_milliseconds(time_ms):
    text = iso8601(time_ms)

    assert (len(text), text[-5:]) == (24, f".{time_ms % 1000:03}Z"[-5:])
