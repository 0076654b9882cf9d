"""The chain on the topic: each place where it was broken is named, and nothing else is."""

import orjson
import pytest

from consumer import chain, encode
from consumer.audit_events import check
from consumer.chain import Head
from consumer.events import Events
from consumer.kafka.record import Record
from consumer.registry import Place
from tests.streams import START_MS

ACTIONS = ["consumer-started", "drift-detected", "batch-monitored"] + ["heal-deployed"] * 8


def sealed():
    """Nine decisions, a metric and a process's event; and the head."""
    events = Events("reflexive", "0")
    places = (Place("t", 0, at, START_MS) for at in range(len(ACTIONS)))
    made = [events.at(place, one, "said") for place, one in zip(places, ACTIONS, strict=True)]
    chained, head = chain.seal(made, Head())
    return [encode.event(event) for event in chained], head


def found(values, head, before=None, first_offset=0):
    records = [
        Record("events", 0, at, START_MS, b"reflexive", value, [])
        for at, value in enumerate(values, first_offset)
    ]
    return check(records, before or head, head)


def at(values, sequence):
    """Index of a decision."""
    (index,) = (
        i for i, v in enumerate(values) if orjson.loads(v)["reflexive"].get("sequence") == sequence
    )
    return index


def altered(value, **fields):
    event = orjson.loads(value)
    event["reflexive"] |= fields
    return orjson.dumps(event)


def test_a_whole_chain_is_checked_to_its_head():
    values, head = sealed()
    whole = found(values, head)

    assert (whole.events, whole.decisions, whole.wrong) == (11, 9, [])
    assert (whole.gone, whole.doubled, whole.outside) == (0, 0, 0)


@pytest.mark.parametrize("sequence", range(1, 10))
def test_a_removed_one_is_named(sequence):
    values, head = sealed()
    del values[at(values, sequence)]

    (line,) = found(values, head).wrong
    assert line.startswith(f"decision {sequence} missing")


@pytest.mark.parametrize("sequence", range(1, 10))
def test_an_altered_one_is_named(sequence):
    values, head = sealed()
    place = at(values, sequence)
    values[place] = altered(values[place], version=7)

    (line,) = found(values, head).wrong
    assert line.startswith(f"decision {sequence} (")
    assert "altered" in line
    assert f"offset {place})" in line


@pytest.mark.parametrize(("one", "other"), [(4, 5), (2, 8), (1, 9)])
def test_two_swapped_ones_are_named(one, other):
    values, head = sealed()
    first, second = at(values, one), at(values, other)
    values[first], values[second] = values[second], values[first]

    lines = found(values, head).wrong
    assert [line.partition(" (")[0] for line in lines] == [f"decision {other}", f"decision {one}"]
    assert lines[0].endswith(f"stands where {one} belongs")


def test_all_made_anew_is_known_by_the_head_alone():
    values, head = sealed()
    events = [orjson.loads(value) for value in values]
    events[4]["reflexive"]["version"] = 7
    forged, _ = chain.seal(events, Head())

    (line,) = found([encode.event(event) for event in forged], head).wrong
    assert line.startswith("decision 9 (")
    assert "the checkpoint" in line


def test_one_that_came_twice_is_counted_apart_unless_it_differs():
    values, head = sealed()
    twice = found([*values, *values[-2:]], head)
    assert (twice.doubled, twice.decisions, twice.wrong) == (2, 9, [])

    (line,) = found([*values, altered(values[-1], version=7)], head).wrong
    assert "has the same number" in line


def test_what_retention_took_is_no_error_but_a_gap_is():
    values, head = sealed()
    kept = values[at(values, 4) :]

    trimmed = found(kept, head, first_offset=5)
    assert (trimmed.gone, trimmed.wrong) == (3, [])
    assert found(kept, head).wrong == ["decisions 1 to 3 missing"]


def test_one_that_no_checkpoint_knows_is_named():
    values, head = sealed()
    (more,), _ = chain.seal([orjson.loads(values[-1])], head)

    (line,) = found([*values, encode.event(more)], head).wrong
    assert line.startswith("decision 10 no checkpoint knows of")


def test_a_consumer_at_work_is_no_error():
    values, head = sealed()
    last = orjson.loads(values[-1])["reflexive"]["previous"]

    assert found(values, head, before=Head(8, last)).wrong == []
    assert found(values[:-1], head, before=Head(8, last)).wrong == []  # read before the second head
    assert found(values[:-1], head).wrong != []


def test_a_decision_without_a_number_is_outside():
    values, head = sealed()
    event = orjson.loads(values[-1])
    del event["reflexive"]["sequence"], event["reflexive"]["previous"]

    assert found([*values, orjson.dumps(event)], head).outside == 1


@pytest.mark.parametrize(
    "value",
    [
        *(b"{", b"[]", None, b'{"event": 1, "reflexive": {}}', b'{"event": {}, "reflexive": {}}'),
        *(sealed()[0][0].replace(b"Z", b"") for _ in "?"),
        orjson.dumps({**orjson.loads(sealed()[0][0]), "message": 1}),
    ],
)
def test_what_is_no_event_is_named(value):
    values, head = sealed()

    assert found([*values, value], head).wrong == ["offset 11: not an event"]


@pytest.mark.parametrize("place", [{"sequence": "9"}, {"sequence": 0}, {"previous": None}])
def test_a_place_that_cannot_be_read_is_named(place):
    values, head = sealed()

    (line,) = found([*values, altered(values[-1], **place)], head).wrong
    assert line == "offset 11: its place in the chain is not readable"
