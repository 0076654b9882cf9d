"""Windows of prequential figures: filled at the exact row, resumed to the bit, corrected so far."""

from dataclasses import replace

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer import metrics
from consumer.columns import Labelled
from consumer.decision import decided
from consumer.running import Running
from consumer.sections import Cost, Segment
from consumer.segments import Segments
from tests.chunks import chunked

COST = Cost()


def labelled(rows, seed=0):
    """Joined rows of a healed and a frozen model; the threshold moves half way."""
    draws = np.random.default_rng(seed)
    fraud = (draws.random(rows) < 0.2).astype(np.int8)
    score, shadow = (
        (1 / (1 + np.exp(-(fraud * shift - 1 + draws.standard_normal(rows))))).astype(np.float32)
        for shift in (2.5, 1.0)
    )
    threshold = np.where(np.arange(rows) < rows // 2, 0.5, 0.6)
    return Labelled(
        partition=0,
        ids=[f"t-{number}" for number in range(rows)],
        event_time=np.arange(rows),
        labelled_at=np.arange(rows),
        is_fraud=fraud,
        source=[None] * rows,
        x=draws.integers(0, 3, (rows, 1)).astype(np.float32),
        score=score,
        shadow=shadow,
        threshold=threshold,
        decision=decided(score, threshold, 0.9),
        shadow_decision=decided(shadow, threshold, 0.9),
        adapter_version=np.zeros(rows, np.int64),
        offset=np.arange(rows),
        weight=np.ones(rows),
        groups=np.zeros((rows, 0), np.uint8),
    )


def fed(running, rows, weight, sizes):
    """Windows, each with the number of the row that filled it."""
    windows = []
    for part in chunked(np.arange(len(rows)), sizes):
        start, stop = (int(part[0]), int(part[-1]) + 1) if len(part) else (0, 0)
        filled = running.add(replace(rows, weight=weight).rows(start, stop))
        windows += [(start + window.last, window) for window in filled]
    return windows


def exact(rows, first, last, weight=None):
    """What metrics says of healed and frozen over rows `first` to `last`."""
    part = slice(first, last + 1)
    return tuple(
        metrics.figures(
            score[part],
            rows.is_fraud[part],
            rows.threshold[part],
            None if weight is None else weight[part],
        )
        for score in (rows.score, rows.shadow)
    )


def assert_figures(found, expected):
    names = ("rows", "accuracy", "precision", "recall", "f1", "log_loss", "brier")
    assert {n: found.figures[n] for n in names} == pytest.approx(
        {n: expected[n] for n in names}, rel=1e-12
    )


@pytest.mark.parametrize("sizes", [[250], [1], [7, 100, 0], [30]])
def test_each_window_holds_its_rows_and_all_before_are_told_with_it(sizes):
    rows = labelled(250)

    windows = fed(Running(100, COST), rows, np.ones(250), sizes)

    assert [(last, window.number) for last, window in windows] == [(99, 0), (199, 1)]
    for last, window in windows:
        healed, frozen = exact(rows, last - 99, last)
        assert_figures(window.healed, healed)
        assert_figures(window.frozen, frozen)
        healed, frozen = exact(rows, 0, last)
        assert_figures(window.healed_so_far, healed)
        assert_figures(window.frozen_so_far, frozen)


def test_so_far_holds_the_rows_of_no_window_yet():
    rows, running = labelled(250), Running(100, COST)
    running.add(rows)

    healed, frozen = running.so_far()

    assert_figures(healed, exact(rows, 0, 249)[0])
    assert_figures(frozen, exact(rows, 0, 249)[1])


def test_windows_count_rows_and_figures_what_they_stand_for():
    rows = labelled(200)
    weight = np.where(np.arange(200) % 3 == 0, 8.0, 1.0)

    (_, first), (_, second) = fed(Running(100, COST), rows, weight, [64])

    assert (first.healed.figures["rows"], second.healed.figures["rows"]) == (100, 100)
    assert second.healed.figures["weight"] == weight[100:].sum()
    assert_figures(second.frozen_so_far, exact(rows, 0, 199, weight)[1])


def test_standard_errors_are_told_where_rows_were_sampled():
    rows = labelled(300)
    weight = np.ones(300)
    weight[150] = 4.0

    windows = [window for _, window in fed(Running(100, COST), rows, weight, [300])]

    assert [window.healed.standard_errors is not None for window in windows] == [False, True, False]
    assert [window.frozen_so_far.standard_errors is not None for window in windows] == [
        False,
        True,
        True,
    ]


def test_a_corrected_label_counts_so_far_as_if_it_had_come_so():
    rows, weight = labelled(250), np.where(np.arange(250) % 2 == 0, 8.0, 1.0)
    changed = np.array([3, 120, 240])  # two of full windows, one of the window being filled
    was = rows.is_fraud.copy()
    was[changed] = 1 - was[changed]
    before = replaced(rows, was)
    running = Running(100, COST)
    published = fed(running, before, weight, [250])

    running.correct(replace(rows, weight=weight), was)  # most of them are what they were

    healed, frozen = running.so_far()
    assert_figures(healed, exact(rows, 0, 249, weight)[0])
    assert_figures(frozen, exact(rows, 0, 249, weight)[1])
    assert healed.figures["rows"] == 250
    assert_figures(published[0][1].healed, exact(before, 0, 99, weight)[0])

    ((_, window),) = fed(running, labelled(50, seed=1), np.ones(50), [50])
    assert window.healed.figures["rows"] == 100  # windows go on where they were


def replaced(rows, is_fraud):
    part = {name: getattr(rows, name) for name in Labelled.__slots__}
    return Labelled(**{**part, "is_fraud": is_fraud})


def test_a_shorter_window_than_before_ends_with_the_next_row():
    rows = labelled(200)
    longer = Running(100, COST)
    longer.add(rows.rows(0, 80))

    shorter = Running(50, COST)
    shorter.load(longer.state())

    windows = shorter.add(rows.rows(80, 200))
    assert [(window.last, window.healed.figures["rows"]) for window in windows] == [
        (0, 81),
        (50, 50),
        (100, 50),
    ]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(0, 70), min_size=1, max_size=5),
    st.integers(10, 160),
    st.integers(0, 150),
    st.sampled_from([1.0, 8.0]),
)
def test_chunks_and_a_restart_change_no_bit(sizes, window_rows, restart_at, weight):
    rows, weights = labelled(150), np.full(150, weight)
    expected = fed(segmented(window_rows), rows, weights, [150])

    first = segmented(window_rows)
    found = fed(first, rows.rows(0, restart_at), weights[:restart_at], sizes)
    second = segmented(window_rows)
    second.load(orjson.loads(orjson.dumps(first.state())))
    later = fed(second, rows.rows(restart_at, 150), weights[restart_at:], sizes)
    found += [(restart_at + last, window) for last, window in later]

    names = {each["name"] for _, window in found for each in window.segments}
    assert names <= {"v=0", "v=1", "v=2"}
    # `last` counts within a chunk; everything else is equal to the bit.
    assert [(last, told(window)) for last, window in found] == [
        (last, told(window)) for last, window in expected
    ]


def told(window):
    both = (window.healed, window.frozen, window.healed_so_far, window.frozen_so_far)
    return window.number, both, window.segments


def segmented(window_rows):
    return Running(window_rows, COST, ["V1"], Segments({"v": Segment(feature="V1")}, ["V1"]))
