"""Where monitor batches end: by rows and event time, however the records come."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.batch import BatchCutter

times = st.lists(st.integers(0, 60), max_size=60).map(lambda t: np.array(t, np.int64))


def ends(cutter, event_time):
    """Indices after the last record of each batch, the whole array known at once."""
    found, start = [], 0
    while (count := cutter.cut(event_time[start:])) is not None:
        cutter.take(event_time[start : start + count])
        cutter.end()
        start += count
        found.append(start)
    cutter.take(event_time[start:])
    return found


def test_rows_alone_end_a_batch_where_no_span_is_asked():
    assert ends(BatchCutter(rows=3, span_ms=0), np.zeros(8, np.int64)) == [3, 6]


def test_a_batch_goes_on_until_it_spans_long_enough():
    # 100 ms apart: the eleventh record is the first one 1,000 ms after the first.
    assert ends(BatchCutter(rows=3, span_ms=1000), 100 * np.arange(25)) == [11, 22]


def test_a_long_pause_ends_no_batch_with_too_few_rows():
    assert ends(BatchCutter(rows=3, span_ms=10), np.array([0, 5000, 5001, 5002])) == [3]


@pytest.mark.parametrize("late", [0, 5])
def test_the_span_counts_from_the_earliest_to_the_latest_record(late):
    # The second record is late by event time: it widens the span to the left.
    cutter = BatchCutter(rows=2, span_ms=10)

    assert cutter.cut(np.array([10, late, 11])) == (2 if late == 0 else None)


def test_what_was_taken_counts():
    cutter = BatchCutter(rows=3, span_ms=10)
    cutter.take(np.array([0, 1]))

    assert cutter.seen == 2
    assert cutter.cut(np.array([9])) is None
    assert cutter.cut(np.array([9, 10, 11])) == 2


def test_a_new_batch_remembers_nothing_of_the_last():
    cutter = BatchCutter(rows=2, span_ms=10)
    cutter.take(np.array([0, 100]))
    cutter.end()
    cutter.take(np.array([50]))

    assert cutter.cut(np.array([55, 45, 40, 35])) == 2


def test_the_span_reaches_over_all_that_was_taken():
    cutter = BatchCutter(rows=4, span_ms=10)
    cutter.take(np.array([0, 9]))
    cutter.take(np.array([5]))

    assert cutter.cut(np.array([9, 10, 11])) == 2


def test_nothing_comes_of_nothing():
    cutter = BatchCutter(rows=2, span_ms=0)
    cutter.take(np.array([], np.int64))

    assert cutter.cut(np.array([], np.int64)) is None
    assert cutter.seen == 0


@given(times, st.integers(2, 8), st.integers(0, 40))
def test_a_batch_ends_at_the_first_record_that_completes_it(event_time, rows, span_ms):
    found = ends(BatchCutter(rows, span_ms), event_time)

    expected, start = [], 0
    for stop in range(1, len(event_time) + 1):
        held = event_time[start:stop]
        if len(held) >= rows and max(held) - min(held) >= span_ms:
            expected.append(stop)
            start = stop
    assert found == expected


@given(times, st.integers(2, 8), st.integers(0, 40), st.lists(st.integers(0, 60)))
def test_batches_do_not_depend_on_how_the_records_come(event_time, rows, span_ms, cuts):
    cutter, found = BatchCutter(rows, span_ms), []

    start = 0
    for stop in [*sorted(c for c in cuts if c <= len(event_time)), len(event_time)]:
        found += [start + end for end in ends(cutter, event_time[start:stop])]
        start = stop

    assert found == ends(BatchCutter(rows, span_ms), event_time)


def test_a_clock_that_stands_still_ends_batches_all_the_same():
    cutter = BatchCutter(rows=2, span_ms=1_000)
    still = np.zeros(15_000, dtype=np.int64)
    assert cutter.cut(still) is None
    cutter.take(still)
    assert cutter.cut(still) == 5_000
    assert BatchCutter(rows=2, span_ms=1_000).cut(np.zeros(50_000, dtype=np.int64)) == 20_000
