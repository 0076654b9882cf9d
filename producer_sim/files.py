"""Reading a CSV or Parquet file a piece at a time, so that it may be larger than memory."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from consumer.errors import DataError
from producer_sim.cells import Column, column_of, numbers

# Rows a piece: a few MB of Python objects, while numpy's overhead a piece no longer shows.
PIECE_ROWS = 8_192

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive rows of a file, as they were read."""

    places: Sequence[int]  # (rows,) line of a CSV file, or row of Parquet, from 1
    columns: dict[str, Column]

    def __len__(self) -> int:
        return len(self.places)


class Csv:
    """A CSV file: UTF-8, comma-separated, its column names in the first line."""

    place = "line"
    rows = None  # known only at the end

    def __init__(self, file: Path) -> None:
        self.file = file
        with _reading(file), file.open(newline="", encoding="utf-8-sig") as lines:
            self.names = next(csv.reader(lines), [])
        _refuse_unnamed(file, self.names)

    def numeric(self) -> set[str]:
        """The columns most of whose first cells are numbers."""
        for piece in self.pieces(self.names, lambda _: None):
            return {name for name, cells in piece.columns.items() if numbers(cells)[1].mean() < 0.5}
        return set()

    def pieces(self, names: Sequence[str], malformed: Report) -> Iterator[Piece]:
        """The named columns; `malformed` is told of each row with too few or too many cells."""
        wanted = {name: self.names.index(name) for name in names}
        with _reading(self.file), self.file.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.reader(lines)
            next(reader)
            while some := list(islice(((reader.line_num, row) for row in reader), PIECE_ROWS)):
                for line, row in some:
                    if row and len(row) != len(self.names):
                        malformed(f"line {line} has {len(row)} cells, not {len(self.names)}")
                whole = [(line, row) for line, row in some if len(row) == len(self.names)]
                if whole:
                    lines_, rows = zip(*whole, strict=True)
                    yield Piece(
                        lines_, {name: [row[at] for row in rows] for name, at in wanted.items()}
                    )


class Parquet:
    """A Parquet file."""

    place = "row"

    def __init__(self, file: Path) -> None:
        self.file = file
        with _reading(file):
            opened = pyarrow.parquet.ParquetFile(file)
        self._opened = opened
        self._schema = opened.schema_arrow
        self.names: list[str] = self._schema.names
        self.rows: int = opened.metadata.num_rows
        _refuse_unnamed(file, self.names)

    def numeric(self) -> set[str]:
        """The columns of numbers."""
        return {
            field.name
            for field in self._schema
            if pa.types.is_integer(field.type)
            or pa.types.is_floating(field.type)
            or pa.types.is_decimal(field.type)
        }

    def pieces(self, names: Sequence[str], malformed: Report) -> Iterator[Piece]:
        """The named columns; no row of Parquet has too few cells."""
        first = 1
        with _reading(self.file):
            for batch in self._opened.iter_batches(PIECE_ROWS, columns=list(dict.fromkeys(names))):
                places = range(first, first + len(batch))
                yield Piece(places, {name: column_of(batch.column(name)) for name in names})
                first += len(batch)


def opened(file: Path) -> Csv | Parquet:
    """The file, of the kind that its first bytes say.

    Raises: DataError where it cannot be read.
    """
    with _reading(file), file.open("rb") as start:
        magic = start.read(4)
    if not magic:
        raise DataError(f"{file} is empty")
    return Parquet(file) if magic == b"PAR1" else Csv(file)


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """What reading may raise, as DataError."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{file}: no such file") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is neither Parquet nor UTF-8 text: {error}") from error
    except csv.Error as error:
        raise DataError(f"{file} is not CSV: {error}") from error
    except pa.ArrowException as error:
        raise DataError(f"{file}: {str(error).splitlines()[0]}") from error
    except OSError as error:
        raise DataError(f"{file}: {error.strerror or error}") from error


def _refuse_unnamed(file: Path, names: list[str]) -> None:
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise DataError(f"{file} has more than one column {min(twice)!r}")
