"""Files of rows as transactions: what is read, what is named and left out."""

import csv
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from consumer import rows as training
from consumer.errors import DataError
from producer_sim import files, replay, training_csv
from producer_sim.cells import Clock, column_of
from producer_sim.files import PIECE_ROWS
from producer_sim.replay import Columns, Malformed, Window
from producer_sim.rows import Transactions
from producer_sim.scenarios import Scenario, sets

START = datetime(2026, 1, 1, tzinfo=UTC)
START_MS = 1_767_225_600_000
COLUMNS = Columns("transaction_id", "event_time", "is_fraud", ("V1",))


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "rows.csv"
    file.write_text(text, "utf-8", newline="")
    return file


def parquet(tmp_path: Path, columns: dict[str, Any]) -> Path:
    file = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pa.table(columns), file)
    return file


def read(
    file: Path, columns: Columns | None = None, window: Window | None = None
) -> tuple[list[Transactions], list[str], int]:
    """The chunks, what was said of malformed rows, and how many there were."""
    source = files.opened(file)
    said: list[str] = []
    malformed = Malformed(said.append)
    columns = columns or replay.choose(source, None, None, None, None)
    chunks = list(replay.transactions(source, columns, window or Window(), malformed))
    return chunks, said, malformed.rows


def ids(chunks: list[Transactions]) -> list[str]:
    return [each for chunk in chunks for each in chunk.ids]


def test_the_training_csv_comes_back_to_the_bit(tmp_path: Path) -> None:
    train = sets(Scenario.paper, 42).train
    file = tmp_path / "train.csv"
    training_csv.write(file, train)

    chunks, said, malformed = read(file)
    assert (said, malformed) == ([], 0)
    assert ids(chunks) == train.ids
    assert np.concatenate([chunk.times for chunk in chunks]).tolist() == train.times.tolist()
    assert (np.concatenate([chunk.is_fraud for chunk in chunks]) == train.is_fraud).all()
    assert list(chunks[0].features) == list(train.features)
    for name, column in train.features.items():
        found = np.concatenate([chunk.features[name] for chunk in chunks])
        assert found.astype(np.float32).tobytes() == column.tobytes()

    # And so does training read it.
    loaded = training.load(file, None, "is_fraud")
    assert loaded.features == tuple(train.features)
    assert loaded.x.tobytes() == np.column_stack(list(train.features.values())).tobytes()


def test_the_training_csv_is_plain_csv(tmp_path: Path) -> None:
    file = tmp_path / "train.csv"
    training_csv.write(file, sets(Scenario.seed, 42).train)
    with file.open(newline="") as lines:
        found = list(csv.DictReader(lines))
    assert len(found) == 5_000
    assert list(found[0]) == [
        *("transaction_id", "event_time", "V1", "V2", "V3", "V4", "V5", "V6", "V7"),
        *("V14", "V8", "V9", "is_fraud"),
    ]
    assert {row["is_fraud"] for row in found} == {"0", "1"}


def test_malformed_rows_are_named_by_line_and_column(tmp_path: Path) -> None:
    text = """\
transaction_id,event_time,V1,note,is_fraud
a,2026-01-01T00:00:00Z,1.5,x,0
b,2026-01-01T00:00:01Z,abc,x,0

,2026-01-01T00:00:02Z,2.5,x,1
d,,1,x,1
e,2026-01-01T00:00:03Z,nan,x,1
f,2026-01-01T00:00:04Z,1,x,2
g,2026-01-01T00:00:05Z,1
h,2026-01-01T00:00:06Z,,x,1
i,1999-12-31T23:59:59Z,1,x,1
j,2026-01-01T00:00:07Z,3,"a, b",true
k,2026-01-01T00:00:08Z,4,y,
"""
    chunks, said, malformed = read(written(tmp_path, text))
    assert ids(chunks) == ["a", "j", "k"]
    assert chunks[0].times.tolist() == [START_MS, START_MS + 7_000, START_MS + 8_000]
    assert chunks[0].features["V1"].tolist() == [1.5, 3.0, 4.0]
    assert chunks[0].is_fraud.tolist() == [0, 1, -1]
    assert said == [
        "left out: line 9 has 3 cells, not 5",
        "left out: line 3, column 'V1': 'abc' is no number",
        "left out: line 5, column 'transaction_id': an empty cell is no id",
        "left out: line 6, column 'event_time': an empty cell is no time of the years 2000 to 2099",
        "left out: line 7, column 'V1': 'nan' is no number",
        "left out: line 8, column 'is_fraud': '2' is neither 0 nor 1",
        "left out: line 10, column 'V1': an empty cell is no number",
        "left out: line 11, column 'event_time': '1999-12-31T23:59:59Z' is no time of the years "
        "2000 to 2099",
    ]
    assert malformed == 8


def test_ten_are_named_and_all_are_counted(tmp_path: Path) -> None:
    lines = [f"t{number},{START_MS + number},x,0" for number in range(PIECE_ROWS + 100)]
    file = written(tmp_path, "\n".join(["transaction_id,event_time,V1,is_fraud", *lines]))
    chunks, said, malformed = read(file, COLUMNS)
    assert chunks == []
    assert malformed == PIECE_ROWS + 100
    assert len(said) == 11
    assert said[9] == "left out: line 11, column 'V1': 'x' is no number"
    assert "counted" in said[10]


def test_the_line_is_right_past_the_first_piece_and_past_cells_of_many_lines(
    tmp_path: Path,
) -> None:
    lines = [f't{number},{START_MS + number},1,"two\nlines"' for number in range(PIECE_ROWS)]
    text = "\n".join(["transaction_id,event_time,V1,note", *lines, f"z,{START_MS * 3},1,"])
    _, said, _ = read(written(tmp_path, text))
    assert said == [
        f"left out: line {2 * PIECE_ROWS + 2}, column 'event_time': '{START_MS * 3}' is no time of "
        "the years 2000 to 2099"
    ]


@pytest.mark.parametrize(
    "times",
    [
        pa.array([START, START], pa.timestamp("ns", "UTC")),
        pa.array([datetime(2026, 1, 1)] * 2, pa.timestamp("us")),  # without a zone: UTC
        pa.array([START.date()] * 2),
        pa.array([START_MS] * 2),
        pa.array([START_MS // 1_000] * 2, pa.int32()),
        pa.array([START_MS / 1_000] * 2),
        pa.array(["2026-01-01T01:00:00+01:00"] * 2),
        pa.array(["2026-01-01"] * 2).dictionary_encode(),
        ["2026-01-01 00:00:00", "2026-01-01T00:00:00.000Z"],
        [str(START_MS)] * 2,
        [f"{START_MS // 1_000}.0"] * 2,
    ],
    ids=str,
)
def test_times_of_every_kind(times: Any) -> None:
    column = column_of(times) if isinstance(times, pa.Array) else times
    found, bad = Clock().times(column)
    assert found.tolist() == [START_MS, START_MS]
    assert not bad.any()


def test_the_first_time_decides_how_all_are_written() -> None:
    clock = Clock()
    clock.times(["1767225600"])
    # Milliseconds in a file of seconds would be the year 57,970.
    _, bad = clock.times(["1767225601", "1767225602000", "2026-01-01"])
    assert bad.tolist() == [False, True, True]


def test_parquet_keeps_the_types_of_its_columns(tmp_path: Path) -> None:
    file = parquet(
        tmp_path,
        {
            "transaction_id": pa.array([7, 8, None, 10], pa.int32()),
            "event_time": pa.array([START] * 4, pa.timestamp("ms")),
            "amount": pa.array([0.1, None, 1, 2], pa.float32()),
            "count": pa.array([1, 2, 3, 2**53 + 1], pa.int64()),
            "note": pa.array(["x"] * 4),
            "is_fraud": pa.array([True, False, None, None]),
        },
    )
    (chunk,), said, _ = read(file)
    assert chunk.ids == ["7", "10"]
    assert list(chunk.features) == ["amount", "count"]
    assert chunk.features["amount"].dtype == np.float32
    assert chunk.features["count"].tolist() == [1, 2**53 + 1]
    assert chunk.is_fraud.tolist() == [1, -1]
    assert said == [
        "left out: row 2, column 'amount': an empty cell is no number",
        "left out: row 3, column 'transaction_id': an empty cell is no id",
    ]


def test_columns_by_other_names(tmp_path: Path) -> None:
    file = written(tmp_path, f"T,WHEN,A,B,FRAUD\nx,{START_MS},1,2,1\n")
    source = files.opened(file)
    with pytest.raises(DataError, match=r"no column 'transaction_id'.*--id-column.*T, WHEN, A"):
        replay.choose(source, None, "WHEN", None, None)
    with pytest.raises(DataError, match=r"no column 'event_time'.*--time-column"):
        replay.choose(source, "T", None, None, None)
    with pytest.raises(DataError, match=r"no column 'Q'; it has T, WHEN, A, B, FRAUD"):
        replay.choose(source, "T", "WHEN", "FRAUD", ["A", "Q"])
    assert replay.choose(source, "T", "WHEN", "FRAUD", None).features == ("A", "B")
    columns = replay.choose(source, "T", "WHEN", None, ["B"])
    (chunk,), _, _ = read(file, columns)
    assert list(chunk.features) == ["B"]
    assert chunk.is_fraud.tolist() == [-1]  # no label column: nothing is labelled


def test_a_window_and_a_limit(tmp_path: Path) -> None:
    lines = [f"t{number},{START_MS + number},{number},0" for number in range(4 * PIECE_ROWS)]
    lines[-1] = "never read"  # a whole piece lies between it and the end of the window
    file = written(tmp_path, "\n".join(["transaction_id,event_time,V1,is_fraud", *lines]))
    start, end = START_MS + 5, START_MS + PIECE_ROWS + 7
    chunks, said, _ = read(file, COLUMNS, Window(start, end))
    assert ids(chunks) == [f"t{number}" for number in range(5, PIECE_ROWS + 7)]
    assert said == []
    chunks, _, _ = read(file, COLUMNS, Window(start, end, PIECE_ROWS + 1))
    assert ids(chunks) == [f"t{number}" for number in range(5, PIECE_ROWS + 6)]
    assert read(file, COLUMNS, Window(limit=0))[0] == []


def test_disorder_within_a_piece_is_sorted_and_beyond_it_refused(tmp_path: Path) -> None:
    times = [START_MS + number for number in range(PIECE_ROWS + 2)]
    times[0], times[9] = times[9], times[0]
    times[-1] = START_MS + 1
    lines = [f"t{number},{time},1,0" for number, time in enumerate(times)]
    file = written(tmp_path, "\n".join(["transaction_id,event_time,V1,is_fraud", *lines[:-1]]))
    chunks, _, _ = read(file)
    assert ids(chunks)[:11] == ["t9", *(f"t{n}" for n in range(1, 9)), "t0", "t10"]
    assert (np.diff(np.concatenate([chunk.times for chunk in chunks])) >= 0).all()

    file = written(tmp_path, "\n".join(["transaction_id,event_time,V1,is_fraud", *lines]))
    with pytest.raises(DataError) as refused:
        read(file)
    assert str(refused.value) == (
        f"{file} is not in order of time: line {PIECE_ROWS + 3} is of "
        "2026-01-01T00:00:00.001+00:00, after rows up to 2026-01-01T00:00:08.191+00:00. "
        "Sort it by 'event_time' first."
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file"),
        (b"", "is empty"),
        (b"\xff\xfe\x00", "neither Parquet nor UTF-8 text"),
        (b"PAR1 and then nothing", "rows: "),
        (b"a,b,a\n1,2,3\n", "more than one column 'a'"),
        (b"transaction_id,event_time,is_fraud\n", "no column of numbers"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    file = tmp_path / "rows"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError) as refused:
        read(file)
    assert str(file) in str(refused.value)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_column_of_another_kind_is_named(tmp_path: Path) -> None:
    file = parquet(
        tmp_path,
        {
            "transaction_id": ["a"],
            "event_time": pa.array([START_MS]),
            "when": pa.array([START], pa.timestamp("ms")),
        },
    )
    with pytest.raises(DataError, match="column 'when' is no number"):
        read(file, Columns("transaction_id", "event_time", None, ("when",)))
