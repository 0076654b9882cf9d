"""The local cache of a join: what was written is read, and no bad file passes or raises."""

import os

import numpy as np
import pytest
import xxhash

from consumer import join_cache
from tests.joining import join, labels, scores

META = {"topic": "pending", "partition": "3", "offset": "120", "model": "abc"}


@pytest.fixture
def saved(tmp_path):
    held = join()
    held.add(scores([f"id-{number}" for number in range(50)]))
    held.match(labels(["id-7", "früh"], labelled_at=60_000))
    path = tmp_path / "cache" / "3"
    join_cache.save(path, held.columns(), META)
    return held, path


def test_what_is_written_is_read_again(saved):
    held, path = saved

    columns = join_cache.load(path, META)

    restored = join()
    restored.load(columns, 10**9)
    restored.resume(held.state())
    asked = labels(["id-7", "id-8"], is_fraud=0)
    again, wanted = restored.match(asked), held.match(asked)
    assert again.joined.offset.tolist() == wanted.joined.offset.tolist() == [8]
    assert [early.id for early in restored.early] == ["früh"]
    assert restored.state() == held.state()
    assert [file.name for file in path.parent.iterdir()] == ["3"]  # no temporary file stays


def test_a_join_that_holds_nothing_is_written_and_read(tmp_path):
    join_cache.save(tmp_path / "3", join().columns(), META)
    restored = join()
    restored.load(join_cache.load(tmp_path / "3", META), 10**9)

    assert len(restored) == 0


def test_columns_are_copies_that_scoring_does_not_touch(saved):
    held, _ = saved
    columns = held.columns()
    before = {name: column.copy() for name, column in columns.items()}

    held.match(labels(["id-9"]))
    held.add(scores(["id-1", "new"], first_offset=50))

    for name, column in columns.items():
        assert np.array_equal(column, before[name])


def test_a_missing_file_is_a_reason(tmp_path):
    assert join_cache.load(tmp_path / "none", META) == f"no cache {tmp_path / 'none'}"


def test_what_cannot_be_read_is_a_reason(tmp_path):
    assert join_cache.load(tmp_path, META) == f"cache {tmp_path}: Is a directory"


@pytest.mark.parametrize("length", [0, 7, 16, 20, 400, -1])
def test_a_truncated_file_is_a_reason(saved, length):
    _, path = saved
    path.write_bytes(path.read_bytes()[:length])

    assert join_cache.load(path, META) == f"cache {path} is truncated or corrupted"


@pytest.mark.parametrize("place", [0, 15, 16, 40, -1])
def test_one_changed_bit_is_a_reason(saved, place):
    _, path = saved
    whole = bytearray(path.read_bytes())
    whole[place] ^= 1
    path.write_bytes(whole)

    assert join_cache.load(path, META) == f"cache {path} is truncated or corrupted"


@pytest.mark.parametrize("whole", [b"", b"not safetensors", (2**40).to_bytes(8, "little") + b"{"])
def test_a_file_of_another_kind_with_a_right_sum_is_a_reason(tmp_path, whole):
    path = tmp_path / "3"
    path.write_bytes(xxhash.xxh3_128_digest(whole) + whole)

    assert join_cache.load(path, META).startswith(f"cache {path} is not of this format: ")


@pytest.mark.parametrize(
    ("other", "shown"),
    [
        ({**META, "model": "b"}, "model b, offset 120, partition 3, topic pending"),
        ({**META, "x": "1"}, "model abc, offset 120, partition 3, topic pending, x 1"),
        ({}, "nothing named"),
    ],
)
def test_a_cache_of_something_else_is_a_reason(saved, other, shown):
    _, path = saved

    assert join_cache.load(path, other) == (
        f"cache {path} is of model abc, offset 120, partition 3, topic pending, not of {shown}"
    )


def test_a_failed_write_raises_and_leaves_the_old_file(saved, monkeypatch):
    held, path = saved
    before = path.read_bytes()
    held.match(labels(["id-9"]))

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        join_cache.save(path, held.columns(), META)

    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["3"]


def test_a_folder_that_cannot_be_made_raises(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(OSError, match="file"):
        join_cache.save(tmp_path / "file" / "3", join().columns(), META)
