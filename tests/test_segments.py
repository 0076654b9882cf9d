"""Declared segments: which rows are whose, how each fares, and a gate that spares none of them."""

from dataclasses import replace

import numpy as np
import pytest

from consumer.errors import SettingsError
from consumer.hedge import gate
from consumer.segments import Segments
from consumer.settings import Segment
from tests.streams import BATCH, V14, Stream, stream
from tests.test_hedge import DRIFT, ran, said

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


def of_two_groups(rows):
    """Four rows in five have moved, all of them alike; the fifth are as in training."""
    given = stream(rows, seed=5)
    x = given.transactions.x.copy()
    x[:, V8] = np.arange(rows) % 5 == 0
    x[x[:, V8] == 0, V14] -= DRIFT
    return Stream(replace(given.transactions, x=x), given.labels)


def test_a_heal_that_hurts_one_segment_is_refused_and_the_segment_named():
    given = of_two_groups(40 * BATCH)
    declared = {"segments": {"group": {"feature": "V8"}}, "prequential.window_rows": 400}

    spared, unaware = ran(given, declared), ran(given, {"prequential.window_rows": 400})

    def verdicts(out):
        told = [*said(out, "heal-deployed"), *said(out, "heal-discarded")]
        return [verdict for each in told for verdict in each["gate"]]

    harms = [v for v in verdicts(spared) if v["reason"] == "harms group=1"]
    assert harms
    assert not any(v["admitted"] for v in harms)
    assert not any("harms" in v["reason"] for v in verdicts(unaware))
    (_, last) = (e["segments"]["group=1"] for e in said(spared, "prequential"))
    assert last["rows"] == 80
    assert last["log_loss"] < last["frozen_log_loss"] + 0.05
    assert all("segments" not in e for e in said(unaware, "prequential"))
