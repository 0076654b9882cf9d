"""Labelled rows from files: the columns taken, their order, and what is refused where."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from consumer import rows
from consumer.errors import DataError

CSV = """transaction_id,event_time,V3,note,V14,is_fraud
a,3,0.5,x,-1,0
b,1,1.5,y,-2,1
c,2,2.5,z,-3,0
"""


@pytest.fixture
def file(tmp_path):
    """Write a text to a CSV file."""

    def write(text, name="rows.csv"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_features_are_the_numeric_columns_but_id_time_and_label(file):
    found = rows.load(file(CSV), None, "is_fraud")

    assert found.features == ("V3", "V14")
    assert (found.x.dtype, found.label.dtype) == (np.float32, np.float32)


def test_rows_come_in_order_of_time(file):
    found = rows.load(file(CSV), None, "is_fraud")

    assert found.x.tolist() == [[1.5, -2.0], [2.5, -3.0], [0.5, -1.0]]
    assert found.label.tolist() == [1, 0, 0]


def test_rows_of_the_same_time_keep_their_order(file):
    lines = [f"{number % 2},{number},1" for number in range(1_000)]

    found = rows.load(file("\n".join(["event_time,a,is_fraud", *lines])), None, "is_fraud")

    assert found.x[:, 0].tolist() == [*range(0, 1_000, 2), *range(1, 1_000, 2)]


def test_another_column_of_time(file):
    found = rows.load(file(CSV), ["V14"], "is_fraud", time="V3")

    assert found.x[:, 0].tolist() == [-1, -2, -3]


def test_without_a_time_the_file_order_stands(file):
    found = rows.load(file("a,is_fraud\n3,0\n1,1\n2,0\n"), None, "is_fraud")

    assert found.x[:, 0].tolist() == [3, 1, 2]


def test_features_come_in_the_order_asked_for_even_an_id(file):
    found = rows.load(file(CSV), ["V14", "event_time"], "is_fraud")

    assert found.features == ("V14", "event_time")
    assert found.x.tolist() == [[-2, 1], [-3, 2], [-1, 3]]


def test_parquet_with_its_own_times_and_booleans(tmp_path):
    path = tmp_path / "rows.parquet"
    times = [datetime(2026, 1, day, tzinfo=UTC) for day in (2, 1)]
    table = pa.table({"event_time": times, "amount": [5, 7], "fraud": [True, False]})
    pyarrow.parquet.write_table(table, path)

    found = rows.load(path, None, "fraud")

    assert found.features == ("amount",)
    assert (found.x.tolist(), found.label.tolist()) == ([[7.0], [5.0]], [0, 1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,is_fraud\n1,0\n2,\n", "row 2: is_fraud is empty"),
        ("a,is_fraud\n1,0\n2,2\n", "row 2: is_fraud is 2, not 0 or 1"),
        ("a,is_fraud\n1,yes\n", "column 'is_fraud' is string, not numbers"),
        ("a,b,is_fraud\n1,1,0\n,1,1\n", "row 2: a is empty"),
        ("a,is_fraud\n1,0\n2,1\nnan,1\n", "row 3: a is empty"),
        ("a,is_fraud\n1,0\n-inf,1\n", "row 2: a is -inf"),
        ("event_time,a,is_fraud\n1,1,0\n,2,1\n", "column 'event_time' has 1 empty cells"),
        ("a,b\n1,2\n", "no column 'is_fraud'; it has a, b"),
        ("note,is_fraud\nx,1\n", "no numeric column besides 'is_fraud'"),
        ("a,is_fraud\n", "no rows"),
        ("a,b\n1\n", "rows.csv: "),
        ("", "rows.csv: "),
    ],
)
def test_what_cannot_be_read_is_named_by_file_row_and_column(file, text, message):
    with pytest.raises(DataError) as error:
        rows.load(file(text), None, "is_fraud")

    assert "rows.csv: " in str(error.value)
    assert message in str(error.value)


def test_a_column_asked_for_by_name_must_be_there_and_numeric(file):
    with pytest.raises(DataError, match=r"no column 'V99'; it has transaction_id, "):
        rows.load(file(CSV), ["V3", "V99"], "is_fraud")
    with pytest.raises(DataError, match=r"column 'note' is string, not numbers"):
        rows.load(file(CSV), ["V3", "note"], "is_fraud")
    with pytest.raises(DataError, match=r"no column 'at'"):
        rows.load(file(CSV), None, "is_fraud", time="at")


def test_a_file_without_rows_is_refused(tmp_path):
    path = tmp_path / "none.parquet"
    empty = pa.array([], pa.float32())
    pyarrow.parquet.write_table(pa.table({"a": empty, "is_fraud": empty}), path)

    with pytest.raises(DataError, match=r"none\.parquet: no rows"):
        rows.load(path, None, "is_fraud")


def test_a_missing_file_and_one_that_is_no_parquet_are_named(file):
    with pytest.raises(DataError, match=r"nowhere\.csv: no such file"):
        rows.load(Path("nowhere.csv"), None, "is_fraud")
    with pytest.raises(DataError, match=r"rows\.parquet: "):
        rows.load(file(CSV, "rows.parquet"), None, "is_fraud")


def test_names_of_another_encoding_and_times_without_an_order_are_refused(tmp_path):
    latin = tmp_path / "latin.csv"
    latin.write_bytes("V1,café,is_fraud\n1,2,0\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"latin\.csv: the names of its columns are no UTF-8"):
        rows.load(latin, None, "is_fraud")

    path = tmp_path / "nested.parquet"
    when = pa.array([{"s": 1}, {"s": 0}])
    table = pa.table({"a": [1.0, 2.0], "is_fraud": [0, 1], "event_time": when})
    pyarrow.parquet.write_table(table, path)
    with pytest.raises(DataError, match=r"column 'event_time' is struct.*: no order to follow"):
        rows.load(path, None, "is_fraud")
