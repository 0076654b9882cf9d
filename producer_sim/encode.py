"""Columns as the text of numbers, and as JSON messages.

A column is turned into text whole and the messages are filled in from the texts: 2.4 us a
message of ten features, where a dictionary a row takes 5.7. A number's text is the shortest
that reads back as the same bits of the column's own type.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from producer_sim.labels import Labels
from producer_sim.rows import Transactions

LABEL = '{"transaction_id":%s,"is_fraud":%s,"labelled_at":%s,"source":"chargeback"}'


def texts(column: NDArray[Any]) -> list[str]:
    """The text of each number.

    >>> texts(np.array([0.1, -2.5], np.float32))
    ['0.1', '-2.5']
    """
    array = orjson.dumps(np.ascontiguousarray(column), option=orjson.OPT_SERIALIZE_NUMPY)
    return array[1:-1].decode().split(",") if len(column) else []


def transactions(rows: Transactions) -> list[str]:
    """The value of each transaction's message: schemas/transaction.schema.json."""
    members = ",".join(f"{_name(name)}:%s" for name in rows.features)
    message = f'{{"transaction_id":%s,"event_time":%s,"features":{{{members}}}}}'
    columns = [texts(column) for column in rows.features.values()]
    cells = zip(_strings(rows.ids), texts(rows.times), *columns, strict=True)
    return [message % row for row in cells]


def labels(rows: Labels) -> list[str]:
    """The value of each label's message: schemas/label.schema.json."""
    ids = _strings(rows.ids.to_pylist())
    cells = zip(ids, texts(rows.is_fraud), texts(rows.labelled_at), strict=True)
    return [LABEL % row for row in cells]


def _strings(values: Iterable[str]) -> list[str]:
    return [orjson.dumps(value).decode() for value in values]


def _name(name: str) -> str:
    return orjson.dumps(name).decode().replace("%", "%%")
