"""From messages to metrics.csv, events.json and threshold_config.json."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from consumer import export, metrics
from consumer.errors import ModelError
from consumer.prequential import prequential
from consumer.sections import Cost
from consumer.settings import Settings
from consumer.stages import Clean, clean, stages
from tests.a_run import START_MS, ARun, published

SCHEMAS = Path(__file__).parent.parent / "schemas"
COST = Cost(missed_fraud=5000, false_alarm=(15.0, 200.0))


def conforms(name, message):
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(
        message
    )


def settings(**flags):
    return Settings(file={}, flags=flags)


def rows_of(*runs, cost=COST):
    events = export.unique([event for run in runs for event in run.events])
    labelled = prequential(row for run in runs for row in run.labelled)
    return export.metrics_rows(events, labelled, cost)


def table_of(run, folder):
    file = folder / "metrics.csv"
    export.write_metrics(file, rows_of(run), export.columns(COST.false_alarm))
    return export.read_metrics(file)


def test_the_invented_run_conforms_to_the_schemas():
    run = published()
    run.batch(alarm=True, action="rollback")
    run.batch(alarm=True, action="discard")
    run.started({"watch.fidi_z": 1.0})
    run.thresholds_changed({"watch.fidi_z": 1.0}, {"watch.fidi_z": 1.5})

    for event in run.events:
        conforms("event", event)
    for row in run.labelled[::97]:
        conforms("labelled", row)
    for manifest in run.manifests:
        conforms("snapshot-manifest", manifest)


def test_the_columns_and_their_order():
    shadow = [f"shadow_{name}" for name in metrics.FIGURES]

    assert export.columns([15.0, 0.5]) == [
        *("partition", "batch", "first_offset", "last_offset", "event_time_end", "rows"),
        *("labelled_rows", "z", "conflicts", "alarm", "state", "adapter_version", "action"),
        *("accuracy", "precision", "recall", "f1", "log_loss", "average_precision", "brier"),
        *shadow,
        "lift",
        *("cost_15", "shadow_cost_15", "cost_0.5", "shadow_cost_0.5"),
        *("in_force_accuracy", "in_force_f1"),
    ]


def test_a_batch_by_hand():
    # given four labelled rows: a caught fraud, a missed one, a false alarm, a right approval
    run = ARun(rows=4)
    run.batch(z=1.2, conflicts=7, alarm=True, action="heal")
    for row, (label, score, shadow) in zip(
        run.labelled, [(1, 0.9, 0.9), (1, 0.1, 0.8), (0, 0.6, 0.7), (0, 0.2, 0.9)], strict=True
    ):
        row |= {"is_fraud": label, "score": score, "shadow_score": shadow}
        # As a version before wrote them: what was decided is told by the threshold.
        del row["decision"], row["shadow_decision"]

    # when
    (row,) = rows_of(run)

    # then
    assert (row["first_offset"], row["last_offset"], row["rows"]) == (0, 3, 4)
    assert (row["z"], row["conflicts"], row["alarm"], row["state"]) == (1.2, 7, True, "DRIFTING")
    assert row["action"] == "heal"
    assert (row["accuracy"], row["precision"], row["recall"], row["f1"]) == (0.5,) * 4
    assert (row["shadow_accuracy"], row["shadow_recall"]) == (0.5, 1.0)
    assert row["lift"] == 0.0
    assert (row["cost_15"], row["shadow_cost_15"]) == (5015.0, 30.0)
    assert (row["cost_200"], row["shadow_cost_200"]) == (5200.0, 400.0)


def test_decisions_are_judged_at_the_threshold_that_was_in_force():
    run = ARun(rows=2)
    run.batch()
    for row, threshold in zip(run.labelled, (0.5, 0.7), strict=True):
        row |= {"is_fraud": 1, "score": 0.6, "threshold": threshold}
        row["decision"] = "review" if threshold < 0.6 else "approve"

    assert rows_of(run)[0]["recall"] == 0.5


def test_a_sampled_row_counts_for_those_it_stands_for():
    run = ARun(rows=2)
    run.batch()
    run.labelled[0] |= {"is_fraud": 1, "score": 0.1, "weight": 3.0}
    run.labelled[1] |= {"is_fraud": 0, "score": 0.1, "weight": 1.0}

    (row,) = rows_of(run)

    assert row["labelled_rows"] == 2
    assert row["accuracy"] == 0.25
    assert row["cost_15"] == 15_000.0


def test_a_batch_without_labels_has_blank_figures(tmp_path):
    run = ARun()
    run.batch(labelled=0)
    run.batch()

    table = table_of(run, tmp_path)

    assert table.texts("labelled_rows") == ["0", "100"]
    for name in (*metrics.FIGURES, "lift", "cost_15", "in_force_accuracy", "action"):
        assert table.texts(name)[0] == ""
        assert table.texts(name)[1] != ""


def test_rows_outside_every_complete_batch_form_no_row():
    run = ARun()
    run.batch()
    run.batch()
    run.events = [e for e in run.events if e["reflexive"].get("batch") != 2]

    (row,) = rows_of(run)

    assert row["labelled_rows"] == 100
    assert len(prequential(run.labelled)) == 200


def test_partitions_are_kept_apart_and_ordered_by_event_time():
    first, second = ARun(seed=1), ARun(seed=2, partition=1)
    for run in (first, second):
        run.batch()
        run.batch()

    rows = rows_of(first, second)

    assert [(r["partition"], r["batch"]) for r in rows] == [(0, 1), (1, 1), (0, 2), (1, 2)]
    alone = [*rows_of(first), *rows_of(second)]
    assert sorted(r["log_loss"] for r in rows) == sorted(r["log_loss"] for r in alone)


def test_an_event_that_came_twice_counts_once():
    run = published()

    twice = export.unique([*run.events, *run.events])

    assert twice == run.events


def test_of_a_row_that_came_twice_the_last_one_counts():
    run = ARun(rows=3)
    run.batch()
    corrected = run.labelled[1] | {"is_fraud": 1 - run.labelled[1]["is_fraud"]}

    rows = prequential([*run.labelled, corrected])

    assert rows.offset.tolist() == [0, 1, 2]
    assert rows.label[1] == corrected["is_fraud"]


def test_action_is_that_of_the_labelled_batch_whose_last_row_lies_in_the_batch():
    run = ARun()
    for action in ("none", "heal", "rollback", "discard"):
        run.batch(alarm=True, action=action)

    assert [r["action"] for r in rows_of(run)] == ["none", "heal", "rollback", "discard"]


def test_in_force_figures_are_left_out_where_the_labelled_batch_is_another(tmp_path):
    run = ARun()
    run.batch(action="heal", alarm=True)
    run.batch(action="heal", alarm=True)
    labelled = export.of(run.events, "batch-labelled")
    labelled[1]["reflexive"]["labelled_batch"] = 7  # as after labels that never came

    table = table_of(run, tmp_path)

    expected = labelled[0]["reflexive"]["in_force"]
    assert table.texts("in_force_accuracy") == [repr(expected["accuracy"]), ""]
    assert table.texts("in_force_f1") == [repr(expected["f1"]), ""]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_reads_back_as_itself(tmp_path_factory, number):
    file = tmp_path_factory.mktemp("exact") / "metrics.csv"

    export.write_metrics(file, [{"z": number}, {"z": None}], ["z"])

    read = export.read_metrics(file).numbers("z")
    assert read[0] == number
    assert math.isnan(read[1])


def test_metrics_csv_reads_back_what_was_judged(tmp_path):
    run = published()

    table = table_of(run, tmp_path)

    rows = rows_of(run)
    for name in ("z", "accuracy", "log_loss", "shadow_average_precision", "lift", "cost_200"):
        assert table.numbers(name).tolist() == [row[name] for row in rows]
    assert table.flags("alarm").tolist() == [row["alarm"] for row in rows]


def test_events_json_holds_decisions_and_no_measurements(tmp_path):
    run = published()

    export.write_json(tmp_path / "events.json", export.decisions(run.events))

    written = json.loads((tmp_path / "events.json").read_text(encoding="utf-8"))
    assert len(written) == 25
    assert {event["event"]["action"] for event in written} == {"heal-deployed"}


def test_without_events_the_thresholds_are_those_of_the_settings(tmp_path):
    found = export.thresholds([], settings(watch={"fidi_z": 2.5}))

    assert found["watch.fidi_z"] == 2.5
    assert len(found) == 7
    conforms("threshold-config", {"format": 1, "thresholds": found})


def test_the_last_start_and_later_changes_say_which_thresholds_hold():
    run = ARun()
    run.started({"watch.fidi_z": 1.0, "decision.threshold": 0.4})
    run.thresholds_changed({"watch.fidi_z": 1.0}, {"watch.fidi_z": 9.0})
    run.started({"watch.fidi_z": 3.0})
    run.thresholds_changed({"health.f1_drop": 0.08}, {"health.f1_drop": 0.03})

    found = export.thresholds(run.events, settings())

    assert (found["watch.fidi_z"], found["health.f1_drop"]) == (3.0, 0.03)


def test_each_batch_is_held_to_the_threshold_in_force_when_it_was_watched():
    run = ARun()
    run.started({"watch.fidi_z": 2.0})
    run.batch(z=1.9)
    run.thresholds_changed({"watch.fidi_z": 2.0}, {"watch.fidi_z": 1.5})
    run.batch(z=1.9)

    assert export.fidi(run.events, limit=1.0) == ([2.0, 1.5], "V14")


def test_no_feature_is_named_where_none_moved_far():
    run = ARun()
    run.batch(z=0.4)

    assert export.fidi(run.events, limit=1.0) == ([1.0], "")


def test_decisions_are_counted_at_the_batch_whose_labels_led_to_them():
    run = ARun()
    for action in ("none", "heal", "rollback"):
        run.batch(alarm=True, action=action)

    assert export.decided(run.events, "heal-deployed").tolist() == [0, 1, 1]
    assert export.decided(run.events, "rollback").tolist() == [0, 0, 1]


def test_stages_judge_the_rows_after_the_first_alarm_on_every_partition(tmp_path):
    # given an alarm in the third batch of partition 0
    first, second = ARun(seed=1), ARun(seed=2, partition=1)
    for number in range(5):
        first.batch(alarm=number == 2)
        second.batch()
    events = [*first.events, *second.events]
    labelled = prequential([*first.labelled, *second.labelled])
    export.write_metrics(tmp_path / "m.csv", rows_of(first, second), export.columns([15.0]))

    # when
    found = stages(export.read_metrics(tmp_path / "m.csv"), labelled)

    # then: batches 4 and 5 of partition 0, and 3 (which ended after the alarm) to 5 of partition 1
    assert len(export.in_order(events)) == 10
    assert (found.since, found.rows) == ("alarm", 500)
    own = labelled[np.flatnonzero((labelled.offset >= 300) | (labelled.partition == 1))]
    own = own[np.flatnonzero(own.offset >= 200)]
    assert found.healed == own.healed()
    assert found.approve_all.tn == found.flag_all.fp == int((own.label == 0).sum())


def test_stages_without_an_alarm_judge_every_row(tmp_path):
    run = ARun()
    run.batch()
    run.batch()

    found = stages(table_of(run, tmp_path), prequential(run.labelled))

    assert (found.since, found.rows) == ("start", 200)


def test_there_are_no_stages_without_labelled_rows(tmp_path):
    run = ARun()
    run.batch(labelled=0)

    assert stages(table_of(run, tmp_path), prequential([])) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[training.test]\naccuracy = 0.929\n[training.holdout]\naccuracy = 0.9\n",
            Clean("clean test set", {"accuracy": 0.929}),
        ),
        ("[training.holdout]\nf1 = 0.7\n", Clean("clean holdout", {"f1": 0.7})),
        ("[training]\nepochs = 20\n", None),
        ("", None),
    ],
    ids=["test", "holdout", "neither", "empty"],
)
def test_the_clean_line_comes_from_the_better_evidence(tmp_path, text, expected):
    (tmp_path / "model.toml").write_text(text, encoding="utf-8")

    assert clean(tmp_path) == expected


def test_a_missing_or_broken_model_directory_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"model\.toml"):
        clean(tmp_path / "nowhere")
    (tmp_path / "model.toml").write_text("= what", encoding="utf-8")
    with pytest.raises(ModelError, match="not TOML"):
        clean(tmp_path)


def test_event_times_with_and_without_milliseconds_are_ordered_by_time():
    run = ARun()
    run.batch()
    run.batch()
    early, late = export.of(run.events, "batch-monitored")
    early["@timestamp"], late["@timestamp"] = "2026-01-01T00:00:10Z", "2026-01-01T00:00:10.100Z"

    assert export.in_order([late, early]) == [early, late]
    assert START_MS > 0
