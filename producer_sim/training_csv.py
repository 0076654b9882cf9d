"""The training CSV: `transaction_id, event_time, <features>, is_fraud`."""

from __future__ import annotations

from pathlib import Path

from consumer.errors import DataError
from producer_sim.encode import texts
from producer_sim.rows import Transactions


def write(file: Path, rows: Transactions) -> None:
    """Write labelled transactions; numbers read back to the same bits.

    Raises: DataError where the file cannot be written.
    """
    header = ["transaction_id", "event_time", *rows.features, "is_fraud"]
    features = [texts(column) for column in rows.features.values()]
    columns = [rows.ids, texts(rows.times), *features, texts(rows.is_fraud)]
    lines = [header, *zip(*columns, strict=True)]
    try:
        file.write_text("".join(",".join(line) + "\n" for line in lines), "utf-8", newline="\n")
    except OSError as error:
        raise DataError(f"{file} cannot be written: {error.strerror}") from error
