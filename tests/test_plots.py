"""The nine plots: written, of the right size, not blank, and different where the data differ."""

import struct

import numpy as np
import pytest
from matplotlib.image import imread

from consumer import export, plots, report
from consumer.plots import style, words
from consumer.prequential import prequential
from consumer.settings import Settings
from consumer.stages import Clean
from tests.a_run import ARun, published

CLEAN = Clean("clean test set", {"accuracy": 0.929, "precision": 0.784, "recall": 0.727})


def write(folder, *runs, clean=CLEAN):
    found = report.Messages(
        scored=sum(run.batches * run.rows for run in runs),
        labelled=prequential(row for run in runs for row in run.labelled),
        events=export.unique([event for run in runs for event in run.events]),
        snapshots=[manifest for run in runs for manifest in run.manifests],
    )
    return report.write(found, Settings(file={}, flags={}), folder, clean)


def size_of(file):
    header = file.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", header[16:24])


def colours(file):
    channels = (imread(file)[::3, ::3, :3] * 255).astype(np.int32)  # every ninth pixel will do
    return len(np.unique(channels @ [1, 256, 65536]))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The plots of a run like the published one, with two rollbacks at its end."""
    run = published()
    run.batch(z=1.4, conflicts=9, alarm=True, action="rollback")
    run.batch(z=1.4, conflicts=9, alarm=True, action="rollback", state="ROLLED_BACK")
    folder = tmp_path_factory.mktemp("drawn")
    return write(folder, run)


@pytest.fixture(scope="module")
def drawn_otherwise(tmp_path_factory):
    """Another seed, and a drift that is over in the end."""
    run = published(seed=7)
    for number in range(6):
        run.batch(z=0.2 * number, action="none")
    return write(tmp_path_factory.mktemp("drawn-otherwise"), run)


def test_the_export_folder_is_complete(drawn):
    names = [
        *("metrics.csv", "events.json", "threshold_config.json"),
        *("1_accuracy.png", "2_f1.png", "3_z_score.png", "4_lift.png"),
        *("5_stages.png", "6_registry.png", "7_states.png", "8_dashboard.png"),
        "9_cost.png",
    ]

    assert [file.name for file in drawn.files] == names
    assert sorted(file.name for file in drawn.folder.iterdir()) == sorted(names)


@pytest.mark.parametrize("name", plots.NAMES)
def test_a_plot_is_a_png_of_its_size_and_shows_something(drawn, name):
    file = drawn.folder / name

    wide = (1800, 1290) if name.startswith("8") else (1500, 870)
    assert size_of(file) == wide
    assert colours(file) > 50
    ink = imread(file)[..., :3].min(axis=2) < 0.9
    assert 0.01 < ink.mean() < 0.8


def test_the_same_messages_give_the_same_bytes(drawn, tmp_path):
    run = published()
    run.batch(z=1.4, conflicts=9, alarm=True, action="rollback")
    run.batch(z=1.4, conflicts=9, alarm=True, action="rollback", state="ROLLED_BACK")

    again = write(tmp_path, run)

    for old, new in zip(drawn.files, again.files, strict=True):
        assert old.read_bytes() == new.read_bytes(), new.name


@pytest.mark.parametrize("name", plots.NAMES)
def test_other_data_give_another_picture(drawn, drawn_otherwise, name):
    assert (drawn.folder / name).read_bytes() != (drawn_otherwise.folder / name).read_bytes()


def test_a_matplotlibrc_of_the_user_changes_nothing(drawn, tmp_path, monkeypatch):
    import matplotlib as mpl

    monkeypatch.setitem(mpl.rcParams, "axes.facecolor", "black")
    monkeypatch.setitem(mpl.rcParams, "font.size", 30)
    run = published()
    run.batch(z=1.4, conflicts=9, alarm=True, action="rollback")
    run.batch(z=1.4, conflicts=9, alarm=True, action="rollback", state="ROLLED_BACK")

    again = write(tmp_path, run)

    assert (again.folder / "1_accuracy.png").read_bytes() == (
        drawn.folder / "1_accuracy.png"
    ).read_bytes()
    assert mpl.rcParams["font.size"] == 30


def _calm():
    run = ARun()
    for _ in range(6):
        run.batch()
    return [run]


def _unlabelled():
    run = ARun()
    for number in range(6):
        run.batch(labelled=0, z=0.3 * number, alarm=number > 3)
    return [run]


def _conflicts_alone():
    run = ARun()
    for number in range(6):
        run.batch(conflicts=number, alarm=number >= 5, action="discard" if number else "none")
    return [run]


def _one_batch():
    run = ARun()
    run.batch(alarm=True, z=2.0, action="heal")
    return [run]


def _no_frauds():
    run = ARun()
    for _ in range(3):
        run.batch()
    for row in run.labelled:
        row["is_fraud"] = 0
    return [run]


def _partitions():
    runs = [ARun(seed=1), ARun(seed=2, partition=1)]
    for number in range(5):
        for run in runs:
            run.batch(alarm=number > 1, z=0.5 * number)
    return runs


def _restarted():
    run = ARun()
    for _ in range(4):
        run.batch()
    for event in export.of(run.events, "batch-monitored")[2:]:
        event["reflexive"]["batch"] -= 2
    return [run]


def _crowded():
    run = ARun(rows=10)
    for number in range(120):
        run.batch(alarm=number % 9 < 4, z=0.5 + (number % 9 < 4), labelled=number % 3 * 5)
    return [run]


def _nothing():
    return [ARun()]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "runs",
    [
        _calm,
        _unlabelled,
        _conflicts_alone,
        _one_batch,
        _no_frauds,
        _partitions,
        _restarted,
        _crowded,
        _nothing,
    ],
)
def test_every_kind_of_run_is_drawn_with_no_clean_line(runs, tmp_path):
    written = write(tmp_path, *runs(), clean=None)

    for name in plots.NAMES:
        assert colours(written.folder / name) > 20, name


def test_without_labels_the_headline_claims_nothing(tmp_path):
    found = write(tmp_path, *_unlabelled())

    assert (found.scored, found.labelled, found.alarms) == (600, 0, 2)
    assert found.healed["accuracy"] is None
    assert "no labelled rows" in report.summary(found)[-1]


def test_the_headline_counts_rows_outside_every_batch(tmp_path):
    run = published()
    run.events = [e for e in run.events if e["reflexive"].get("batch") != 25]

    found = write(tmp_path, run)

    assert (found.labelled, found.batches, found.heals) == (2500, 24, 25)
    assert found.healed["rows"] == 2500


def test_the_headline_compares_costs(tmp_path):
    found = write(tmp_path, published())

    rows = prequential(published().labelled)
    healed, frozen = rows.healed(), rows.frozen()
    assert found.costs[200.0] == (
        healed.fn * 5000 + healed.fp * 200,
        frozen.fn * 5000 + frozen.fp * 200,
    )
    saved = frozen.fp - healed.fp
    assert found.break_even == pytest.approx((healed.fn - frozen.fn) * 5000 / saved)


def test_a_moving_mean_knows_only_what_is_known():
    mean = style.moving_mean(np.array([1.0, np.nan, 3.0, np.nan, np.nan]), 2)

    assert mean.tolist()[:4] == [1.0, 1.0, 3.0, 3.0]
    assert np.isnan(mean[4])


def test_stretches_begin_and_end_where_they_should():
    assert style.runs([]) == []
    assert style.runs([True]) == [(0, 1)]
    assert style.runs([False, True, True, False, True]) == [(1, 3), (4, 5)]


def test_numbers_as_titles_say_them():
    assert words.count(0, "rollback") == "no rollbacks"
    assert words.count(1, "batch") == "1 batch"
    assert words.signed(-0.04, 1) == "+0.0"
    assert words.signed(-3.14, 1) == "−3.1"
    assert words.listed(["recall", "F1"]) == "recall and F1"
