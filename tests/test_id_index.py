"""The index from hash to slot does what a dict does, whatever hashes meet in one place."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.id_index import IdIndex

# Few homes in the smallest table of 2,048 places, two of them at its end: long probes that meet
# tombstones and wrap around; and the hashes 0 and 2**64 - 1, which no mark may stand for.
HASHES = st.one_of(
    st.builds(
        lambda home, turn: home + 2048 * turn,
        st.sampled_from([0, 1, 2046, 2047]),
        st.integers(0, 12),
    ),
    st.sampled_from([0, 2**64 - 1]),
)
STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "remove"]), st.lists(HASHES, max_size=30)), max_size=30
)


def array(hashes):
    return np.array(list(hashes), np.uint64)


@given(STEPS)
def test_it_does_what_a_dict_does(steps):
    index, expected, slot = IdIndex(), {}, 0

    for step, hashes in steps:
        if step == "put":
            slots = np.arange(slot, slot + len(hashes))
            slot += len(hashes)
            gave_way = []
            for one, to in zip(hashes, slots.tolist(), strict=True):
                if one in expected:
                    gave_way.append(expected[one])
                expected[one] = to
            assert sorted(index.put(array(hashes), slots).tolist()) == sorted(gave_way)
        else:
            index.remove(array(hashes))
            for one in hashes:
                expected.pop(one, None)
        asked = [*expected, 5, 2048 * 77, 2**63]
        wanted = [expected.get(one, -1) for one in asked]
        assert index.find(array(asked)).tolist() == wanted
        assert len(index) == len(expected)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 60))
def test_it_stays_right_and_small_while_thousands_come_and_go(seed, turns):
    drawn = np.random.default_rng(seed).integers(0, 2**64, 1000 * turns, np.uint64)
    index = IdIndex()

    for turn in range(turns):
        part = slice(1000 * turn, 1000 * (turn + 1))
        index.put(drawn[part], np.arange(len(drawn))[part])
        if turn >= 3:
            index.remove(drawn[1000 * (turn - 3) : 1000 * (turn - 2)])

    held = max(0, 1000 * (turns - 3))
    assert index.find(drawn[held:]).tolist() == list(range(held, len(drawn)))
    assert (index.find(drawn[:held]) == -1).all()
    assert index.nbytes <= 16 * 8192  # 4,000 at most at half load


def test_it_grows_with_what_is_put_and_empty_calls_do_nothing():
    index, none = IdIndex(), array([])
    hashes = np.random.default_rng(3).integers(0, 2**64, 100_000, np.uint64)

    assert index.put(none, np.empty(0, np.int64)).tolist() == []
    assert index.put(hashes, np.arange(100_000)).tolist() == []
    index.remove(none)

    assert index.find(hashes).tolist() == list(range(100_000))
    assert index.find(none).tolist() == []
    assert index.nbytes == 16 * 262_144
