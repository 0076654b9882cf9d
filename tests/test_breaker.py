"""The breaker of unreadable messages: the exact record at which it trips, whatever the chunks."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from consumer.breaker import Breaker
from tests.chunks import chunked


def fed(breaker, bad, *, first=0, chunks=None):
    """The first trip over `bad`, its index counted from the first record, and None without one."""
    start = 0
    for part in chunked(np.array(bad, bool), chunks or [len(bad)]):
        offsets = np.arange(first + start, first + start + len(part), dtype=np.int64)
        trip = breaker.check(offsets, part)
        if trip is not None:
            return start + trip.index, trip
        start += len(part)
    return None


def by_loop(bad, max_run, max_share, window):
    """The rules as one would say them: (index, rule, run, bad ones, rows) of the first trip."""
    run = 0
    for index, is_bad in enumerate(bad):
        run = run + 1 if is_bad else 0
        last = bad[max(0, index + 1 - window) : index + 1]
        if max_run > 0 and run >= max_run:
            return index, "run", run, sum(last), len(last)
        if len(last) == window and sum(last) > max_share * window:
            return index, "share", run, sum(last), len(last)
    return None


def test_a_topic_of_broken_messages_trips_at_the_hundredth():
    index, trip = fed(Breaker(max_run=100, max_share=0.5), [True] * 300, first=40)

    assert (index, trip.rule, trip.run, trip.offset) == (99, "run", 100, 139)
    assert (trip.bad, trip.rows) == (100, 100)
    assert trip.reason == "100 unreadable messages in a row, up to offset 139"


def test_99_in_a_row_do_not_trip_and_a_good_one_starts_anew():
    assert fed(Breaker(max_run=100, max_share=1), ([True] * 99 + [False]) * 30) is None


def test_half_of_the_window_does_not_trip_and_one_more_does():
    half = [True, False] * 500

    assert fed(Breaker(max_run=100, max_share=0.5), half * 3) is None
    # Record 1,000 takes the place of a bad one, 1,001 of a good one: it is the 501st.
    index, trip = fed(Breaker(max_run=100, max_share=0.5), [*half, True, True])
    assert (index, trip.rule, trip.bad, trip.rows) == (1001, "share", 501, 1000)
    assert trip.reason == "501 of 1,000 messages unreadable, up to offset 1001"


def test_a_short_topic_with_few_messages_is_not_judged_by_its_share():
    assert fed(Breaker(max_run=100, max_share=0.5), [True, True, False] * 333) is None


def test_both_rules_can_be_turned_off():
    assert fed(Breaker(max_run=0, max_share=1), [True] * 5_000) is None


def test_nothing_trips_on_no_records():
    assert Breaker(max_run=1, max_share=0).check(np.empty(0, np.int64), np.empty(0, bool)) is None


def test_records_behind_the_trip_count_as_not_seen():
    breaker = Breaker(max_run=2, max_share=1)
    offsets = np.arange(4)

    first = breaker.check(offsets, np.array([True, True, False, False]))
    again = breaker.check(offsets[2:], np.array([True, False]))

    assert (first.index, first.run) == (1, 2)
    assert (again.index, again.run) == (0, 3)  # the good ones behind the trip broke no run
    assert again.bad == again.rows == 3  # nor do they stand in the window


@given(
    st.lists(st.booleans(), max_size=60),
    st.lists(st.integers(0, 9), min_size=1, max_size=6),
    st.integers(0, 5),
    st.sampled_from([0.0, 0.25, 0.5, 0.7, 1.0]),
    st.integers(1, 9),
)
def test_it_is_exact_at_the_record_whatever_the_chunks(bad, chunks, max_run, max_share, window):
    breaker = Breaker(max_run=max_run, max_share=max_share, window=window)

    found = fed(breaker, bad, chunks=chunks)

    expected = by_loop(bad, max_run, max_share, window)
    if found is None:
        assert expected is None
    else:
        index, trip = found
        assert (index, trip.rule, trip.run, trip.bad, trip.rows) == expected
        assert trip.offset == index
