"""Arrays over a pipe: what comes out is what went in, however it was cut on its way."""

import math
import os
import threading
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from consumer import frames

KINDS = st.sampled_from(["f4", "f8", "i1", "i8", "u1", "?"])


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for end in ends:
        with suppress(OSError):
            os.close(end)


def sent(about, some):
    """Through a pipe, which holds less than a frame may have."""
    reads, writes = os.pipe()
    sender = threading.Thread(target=frames.write, args=(writes, about, some))
    sender.start()
    try:
        return frames.read(reads)
    finally:
        os.close(reads)  # who still sends is told so
        sender.join()
        os.close(writes)


@given(
    st.lists(
        arrays.arrays(KINDS, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0)), max_size=4
    )
)
def test_arrays_of_any_kind_and_shape_come_as_they_were(given):
    about, found = sent({"rows": 3}, {f"a/{n}": each for n, each in enumerate(given)})

    assert about == {"rows": 3}
    assert list(found) == [f"a/{n}" for n in range(len(given))]
    for before, after in zip(given, found.values(), strict=True):
        assert (after.dtype, after.shape) == (before.dtype, before.shape)
        assert after.tobytes() == before.tobytes()


def test_more_than_a_pipe_holds_and_columns_that_do_not_lie_in_a_row():
    x = np.arange(2_000_000, dtype=np.float32).reshape(-1, 8)
    _, found = sent(None, {"x": x, "turned": x.T, "some": x[::3, 1]})

    np.testing.assert_array_equal(found["x"], x)
    np.testing.assert_array_equal(found["turned"], x.T)
    np.testing.assert_array_equal(found["some"], x[::3, 1])


def test_a_number_that_is_none_is_told():
    about, _ = sent({"gain": math.nan, "most": math.inf, "names": ["é"]}, {})
    assert math.isnan(about["gain"])
    assert (about["most"], about["names"]) == (math.inf, ["é"])


def test_who_ends_within_a_frame_is_told_from_an_answer(pipe):
    reads, writes = pipe
    os.write(writes, (1_000).to_bytes(8, "little") + b'{"about"')
    os.close(writes)
    with pytest.raises(EOFError, match="the other process has ended"):
        frames.read(reads)


def test_waiting_is_given_up_where_the_caller_says_so(pipe):
    class EnoughError(Exception):
        pass

    def enough():
        raise EnoughError

    reads, writes = pipe
    with pytest.raises(EnoughError):
        frames.read(reads, enough)
    with pytest.raises(EnoughError):
        frames.write(writes, {}, {}, enough)
