"""Thresholds: which may change, within which bounds, and the file that changes them."""

import json

import orjson
import pytest

from consumer.command import SetThresholds
from consumer.errors import ThresholdError
from consumer.threshold import Thresholds, read_command
from tests.schemas import conforms
from tests.streams import START_MS, settings

OURS = Thresholds.of(settings())


def write(folder, content):
    file = folder / "threshold_config.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def test_they_begin_as_the_settings_say():
    assert Thresholds.of(settings({"watch.fidi_z": 2.5, "health.f1_drop": 0.03})).named() == {
        "watch.fidi_z": 2.5,
        "watch.conflict_probability": 0.30,
        "watch.conflicts": 5,
        "health.f1_drop": 0.03,
        "health.accuracy_drop": 0.10,
        "decision.threshold": 0.5,
        "decision.decline_threshold": 0.9,
    }


@pytest.mark.parametrize("name", sorted(OURS.named()))
def test_each_is_changed_by_its_dotted_name_alone(name):
    after = OURS.changed({name: 0.75})

    different = {n: v for n, v in after.named().items() if v != OURS.named()[n]}
    assert different == {name: 0.75}


def test_a_threshold_may_be_a_whole_number():
    assert OURS.changed({"watch.conflicts": 12}).watch_conflicts == 12.0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"watch.fidi": 1}, "there is no threshold 'watch.fidi'; there are decision.decline"),
        ({"watch.fidi_z": "1"}, "watch.fidi_z: '1' is not a number"),
        ({"watch.fidi_z": True}, "watch.fidi_z: True is not a number"),
        ({"watch.fidi_z": None}, "watch.fidi_z: None is not a number"),
        ({"watch.fidi_z": -0.1}, "watch.fidi_z: -0.1 lies outside 0..inf"),
        ({"watch.fidi_z": float("nan")}, "watch.fidi_z: nan lies outside"),
        ({"decision.threshold": 1.01}, "decision.threshold: 1.01 lies outside 0..1"),
        ({"decision.threshold": 0.95}, "decline_threshold 0.9 lies below decision.threshold 0.95"),
    ],
)
def test_what_cannot_be_is_refused_by_name(values, message):
    with pytest.raises(ThresholdError) as error:
        OURS.changed({"health.f1_drop": 0.5, **values})

    assert message in str(error.value)


def test_both_ends_of_the_decision_may_move_together():
    moved = OURS.changed({"decision.threshold": 0.95, "decision.decline_threshold": 0.95})

    assert moved.decision_threshold == moved.decision_decline_threshold == 0.95


def test_a_file_becomes_a_command_that_says_who_and_why(tmp_path):
    file = write(tmp_path, {"format": 1, "thresholds": {"watch.fidi_z": 1.5}, "note": "any"})

    command = read_command(file, "SIGHUP", START_MS)

    assert (command.issued_by, command.why) == ("threshold_config.json", "SIGHUP")
    assert (command.issued_at, command.thresholds) == (START_MS, {"watch.fidi_z": 1.5})
    conforms("command", orjson.loads(command.value))
    assert orjson.loads(command.value)["command_id"] == command.command_id


def test_a_command_has_its_own_id_each_time(tmp_path):
    file = write(tmp_path, {"format": 1, "thresholds": {"watch.fidi_z": 1.5}})

    one, later = (read_command(file, "SIGHUP", START_MS + ms).command_id for ms in (0, 1))

    assert one != later


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ([], "expected"),
        ({"thresholds": {}}, "expected"),
        ({"format": 2, "thresholds": {}}, "expected"),
        ({"format": 1}, "'thresholds' must be an object"),
        ({"format": 1, "thresholds": [1]}, "'thresholds' must be an object"),
    ],
)
def test_another_file_is_refused_by_name(tmp_path, content, message):
    with pytest.raises(ThresholdError, match=message) as error:
        read_command(write(tmp_path, content), "start", START_MS)

    assert "threshold_config.json" in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ThresholdError, match=r"nowhere\.json: No such file"):
        read_command(tmp_path / "nowhere.json", "start", START_MS)


def test_a_command_conforms():
    command = SetThresholds(
        command_id="6d1f0c2b9a7e4c55",
        issued_at=START_MS,
        issued_by="ops",
        why="too many",
        thresholds={"watch.conflicts": 7},
    )

    conforms("command", orjson.loads(command.value))
