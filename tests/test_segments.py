"""Declared segments: which rows are whose, how each fares, and a gate that spares none of them."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest

from consumer.columns import Transactions
from consumer.decode import TransactionDecoder
from consumer.errors import SettingsError
from consumer.hedge import gate
from consumer.sections import Segment, TransactionInput
from consumer.segments import Segments
from consumer.settings import load
from tests.hedging import ran, said
from tests.streams import BATCH, DRIFT, V14, Stream, stream

V8 = 2
FEATURES = ["V3", "V14", "V8"]
NONE = np.zeros((5, 0), np.uint8)


def test_rows_are_of_bands_or_of_whole_numbers():
    columns = {
        "age": Segment(feature="V3", cuts=[25, 65]),
        "country": Segment(feature="V8"),
    }
    x = np.array([[24, 0, 0], [25, 0, 7], [65, 0, 7], [70, 0, 2.5], [-1, 0, 50]], np.float32)

    found = {name: rows.tolist() for name, rows in Segments(columns, FEATURES).of(x, NONE)}

    assert found == {
        "age<25": [True, False, False, False, True],
        "age=25..65": [False, True, False, False, False],
        "age>=65": [False, False, True, True, False],
        "country=0": [True, False, False, False, False],
        "country=7": [False, True, True, False, False],
        "country=other": [False, False, False, True, True],
    }


def test_a_column_of_no_feature_is_named():
    with pytest.raises(SettingsError, match=r"segments\.age: no feature 'years' among V3, V14, V8"):
        Segments({"age": Segment(feature="years")}, FEATURES)


def test_a_gain_for_most_does_not_pay_for_the_harm_to_some():
    y = np.tile([0, 0, 0, 1], 50).astype(np.float32)
    frozen = np.where(y == 1, 1.0, -1.0).astype(np.float32)
    some = np.arange(200) < 40
    candidate = np.where(some, frozen / 4, frozen * 4).astype(np.float32)
    ones = np.ones(200, np.float32)

    assert gate.judge("tuned", candidate, frozen, y, ones).admitted
    found = gate.harmed([("some", some), ("others", ~some)], candidate, frozen, y, ones)
    assert found == ["some"]
    few = some & (np.arange(200) < 29)
    assert gate.harmed([("few", few)], candidate, frozen, y, ones) == []


COLUMNS = {
    "country": Segment(path="card.country", values=["DE", "FR", 7]),
    "age": Segment(path="age", cuts=[25, 65]),
    "size": Segment(feature="V8"),
}
MESSAGES = [
    {"card": {"country": "DE"}, "age": 24},
    {"card": {"country": "FR"}, "age": 25.0},
    {"card": {"country": 7}, "age": 65},
    {"card": {"country": "IT"}, "age": 1e300},
    {"card": {"country": 7.0}, "age": True},
    {"card": {"country": True}, "age": "40"},
    {"card": {"country": None}, "age": None},
    {"card": {"country": ["DE"]}, "age": [30]},
    {"card": "DE"},
    {},
]
NAMED = [
    ["country=DE", "age<25"],
    ["country=FR", "age=25..65"],
    ["country=7", "age>=65"],
    ["country=other", "age>=65"],
    ["country=7", "age=unknown"],
    *[["country=unknown", "age=unknown"]] * 5,
]


def test_columns_of_the_message_are_of_declared_values_or_bands_or_unknown():
    segments = Segments(COLUMNS, FEATURES)
    groups = segments.read(MESSAGES)

    assert (groups.shape, segments.columns) == ((10, 2), 2)
    assert segments.named(groups) == NAMED
    assert (segments.coded(NAMED) == groups).all()
    assert segments.coded([["country=XX", "size=1"], []]).tolist() == [[0, 0]] * 2
    x = np.zeros((10, 3), np.float32)
    found = {name: np.flatnonzero(rows).tolist() for name, rows in segments.of(x, groups)}
    assert found == {
        "size=0": [*range(10)],
        "country=unknown": [5, 6, 7, 8, 9],
        "country=DE": [0],
        "country=FR": [1],
        "country=7": [2, 4],
        "country=other": [3],
        "age=unknown": [4, 5, 6, 7, 8, 9],
        "age<25": [0],
        "age=25..65": [1],
        "age>=65": [2, 3],
    }
    assert segments.read([]).shape == (0, 2)
    assert Segments({}, FEATURES).read(MESSAGES).shape == (10, 0)
    other = Segments({"country": Segment(path="card.country", values=["FR", "DE"])}, FEATURES)
    assert other.declared != segments.declared


@pytest.mark.parametrize("time_format", ["auto", "epoch_s"])  # many at a time, and one by one
def test_declared_columns_are_read_beside_the_features(time_format):
    segments = Segments(COLUMNS, FEATURES)
    mapping = TransactionInput(time_format=time_format)
    now_ms = 1_767_225_600_000
    values = [
        orjson.dumps(
            {
                "transaction_id": str(number),
                "event_time": now_ms if time_format == "auto" else now_ms // 1000,
                "features": dict.fromkeys(FEATURES, 0.5),
                **message,
            }
        )
        for number, message in enumerate(MESSAGES)
    ]
    values.insert(3, b"{")
    decode = TransactionDecoder(mapping, FEATURES, 1_000, segments.read)

    rows, rejected = decode(0, values, list(range(11)), now_ms)

    assert [one.index for one in rejected] == [3]
    assert segments.named(rows.groups) == NAMED
    assert rows.rows(2, 5).groups.tolist() == rows.groups[2:5].tolist()
    both = Transactions.concatenate(rows.rows(0, 2), rows.rows(2, 10))
    assert both.groups.tolist() == rows.groups.tolist()
    rows, _ = TransactionDecoder(mapping, FEATURES, 1_000)(0, values, list(range(11)), now_ms)
    assert rows.groups is None


@pytest.mark.parametrize(
    ("declared", "why"),
    [
        ({}, "name either a feature or a path"),
        ({"feature": "V8", "path": "a"}, "name either a feature or a path"),
        ({"path": "a"}, "with a path give either cuts or values"),
        ({"path": "a", "cuts": [1], "values": ["b"]}, "with a path give either cuts or values"),
        ({"feature": "V8", "values": ["b"]}, "values go with a path"),
        ({"path": "a", "values": ["7", 7]}, "a value is given twice"),
        ({"path": "a", "values": [str(n) for n in range(51)]}, "at most 50 items"),
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused_in_one_line(declared, why):
    with pytest.raises(SettingsError, match=why) as refused:
        load(Path(os.devnull), {"segments": {"group": declared}})
    assert "\n" not in str(refused.value)
    assert "segments.group" in str(refused.value)


def of_two_groups(rows, since=0):
    """Four rows in five have moved, all of them alike; the fifth are as in training.

    Of the first `since` rows none is.
    """
    given = stream(rows, seed=5)
    x = given.transactions.x.copy()
    x[:, V8] = (np.arange(rows) % 5 == 0) & (np.arange(rows) >= since)
    x[x[:, V8] == 0, V14] -= DRIFT
    fifth = 2 - (x[:, V8] == 1)  # the codes of the first and the second value
    groups = fifth.astype(np.uint8)[:, None]
    return Stream(replace(given.transactions, x=x, groups=groups), given.labels)


@pytest.mark.parametrize(
    ("declared", "fifth"),
    [
        ({"feature": "V8"}, "group=1"),
        ({"path": "card.country", "values": ["DE", "FR"]}, "group=DE"),
    ],
)
def test_a_heal_that_hurts_one_segment_is_refused_and_the_segment_named(declared, fifth):
    given = of_two_groups(40 * BATCH)
    windows = {"prequential.window_rows": 400}
    bare = replace(given, transactions=replace(given.transactions, groups=None))

    spared, unaware = ran(given, windows | {"segments": {"group": declared}}), ran(bare, windows)

    def verdicts(out):
        told = [*said(out, "heal-deployed"), *said(out, "heal-discarded")]
        return [verdict for each in told for verdict in each["gate"]]

    harms = [v for v in verdicts(spared) if v["reason"] == f"harms {fifth}"]
    assert harms
    assert not any(v["admitted"] for v in harms)
    assert not any("harms" in v["reason"] for v in verdicts(unaware))
    (_, last) = (of_segment(e, fifth) for e in said(spared, "prequential"))
    assert last["rows"] == 80
    assert last["log_loss"] < last["frozen_log_loss"] + 0.05
    assert all("segments" not in e for e in said(unaware, "prequential"))


def test_who_was_admitted_before_a_segment_could_tell_leaves_when_it_can():
    given = of_two_groups(40 * BATCH, since=15 * BATCH)
    out = ran(given, {"segments": {"group": {"feature": "V8"}}, "prequential.window_rows": 400})

    admitted = {v["expert"] for e in said(out, "heal-deployed") for v in e["gate"] if v["admitted"]}
    left = [
        (reason.partition(" harms "), event["weights"])
        for event in said(out, "heal-withdrawn")
        for reason in event["reasons"]
    ]
    assert left
    for (expert, _, segment), weights in left:
        assert segment == "group=1"
        assert expert in admitted
        assert expert not in weights
    *_, last = (of_segment(e, "group=1") for e in said(out, "prequential"))
    assert last["log_loss"] < last["frozen_log_loss"] + 0.05


def of_segment(event, name):
    (found,) = (each for each in event["segments"] if each["name"] == name)
    return found
