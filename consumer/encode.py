"""From columns to the bytes of messages, a line of JSON each.

A column is turned into text whole, and the lines are filled in from the texts: a third of the time
that a dictionary a row takes, and the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from consumer import decision
from consumer.columns import Labelled, Scores
from consumer.events import Event
from consumer.registry import Snapshot
from consumer.segments import Segments

# By name: the text of each row, one text for all, or an object of such.
_Members = Mapping[str, "list[bytes] | bytes | _Members"]

_DECISIONS: NDArray[np.object_] = np.array([*map(orjson.dumps, decision.NAMES)], object)


def scores(batch: Scores, topic: str, model_version: str) -> Iterator[tuple[str, bytes]]:
    """(key, value) of each score, in the order of the transactions."""
    rows = batch.transactions
    shared = {
        "model_version": model_version,
        "adapter_version": batch.adapter_version,
        "provisional": batch.provisional,
        "state": batch.state,
        "topic": topic,
        "partition": rows.partition,
    }
    return _lines(
        rows.ids,
        {
            "transaction_id": _strings(rows.ids),
            "event_time": _numbers(rows.event_time),
            "score": _numbers(batch.score.astype(np.float64)),
            "shadow_score": _numbers(batch.shadow.astype(np.float64)),
            "decision": _DECISIONS[batch.decision].tolist(),
            "threshold": _number_or_numbers(batch.threshold),
            **_alike(shared),
            "offset": _numbers(rows.offset),
        },
    )


def labelled(
    batch: Labelled,
    topic: str,
    features: Sequence[str],
    segments: Segments | None = None,
    *,
    correction: bool = False,
) -> Iterator[tuple[str, bytes]]:
    """(key, value) of each joined row, in the order in which the labels came.

    `correction`: the row was joined before, with another label. `segments`: those declared; None:
    the rows have none that their messages told.
    """
    x = batch.x.astype(np.float64).T  # (features, rows)
    return _lines(
        batch.ids,
        {
            "transaction_id": _strings(batch.ids),
            "event_time": _numbers(batch.event_time),
            "labelled_at": _numbers(batch.labelled_at),
            "delay_ms": _numbers(batch.labelled_at - batch.event_time),
            "is_fraud": _numbers(batch.is_fraud),
            "source": [orjson.dumps(source) for source in batch.source],
            "features": dict(zip(features, map(_numbers, x), strict=True)),
            "score": _numbers(batch.score.astype(np.float64)),
            "shadow_score": _numbers(batch.shadow.astype(np.float64)),
            "threshold": _numbers(batch.threshold),
            "decision": _DECISIONS[batch.decision].tolist(),
            "shadow_decision": _DECISIONS[batch.shadow_decision].tolist(),
            "adapter_version": _numbers(batch.adapter_version),
            "weight": _numbers(batch.weight),
            "segments": [orjson.dumps(names) for names in segments.named(batch.groups)]
            if segments is not None and segments.columns
            else b"[]",
            **_alike({"correction": correction, "topic": topic, "partition": batch.partition}),
            "offset": _numbers(batch.offset),
        },
    )


def _lines(keys: Sequence[str], columns: _Members) -> Iterator[tuple[str, bytes]]:
    """Each row as the JSON object that `orjson.dumps` would make of it."""
    if not keys:
        return iter(())
    cells: list[list[bytes]] = []
    line = _template(columns, cells)
    return zip(keys, [*map(line.__mod__, zip(*cells, strict=True))], strict=True)


def _template(columns: _Members, cells: list[list[bytes]]) -> bytes:
    """One row's object with a place for each text; the columns of texts go to `cells`."""
    members = []
    for name, column in columns.items():
        if isinstance(column, list):
            cells.append(column)
            text = b"%b"
        elif isinstance(column, bytes):
            text = _literal(column)
        else:
            text = _template(column, cells)
        members.append(_literal(orjson.dumps(name)) + b":" + text)
    return b"{" + b",".join(members) + b"}"


def _literal(text: bytes) -> bytes:
    return text.replace(b"%", b"%%")


def _alike(values: Mapping[str, Any]) -> dict[str, bytes]:
    """Members that are the same in every row."""
    return {name: orjson.dumps(value) for name, value in values.items()}


def _numbers(column: NDArray[Any]) -> list[bytes]:
    """The text of each number, at least one."""
    text = orjson.dumps(np.ascontiguousarray(column), option=orjson.OPT_SERIALIZE_NUMPY)
    return text[1:-1].split(b",")


def _number_or_numbers(value: float | NDArray[Any]) -> list[bytes] | bytes:
    return _numbers(value) if isinstance(value, np.ndarray) else orjson.dumps(float(value))


def _strings(values: Sequence[str]) -> list[bytes]:
    """The text of each string, quotes around it."""
    found = orjson.dumps(values)[1:-1].split(b",")
    # Commas within a string split it as well.
    return found if len(found) == len(values) else [*map(orjson.dumps, values)]


def manifest(snapshot: Snapshot) -> bytes:
    """Value of a registry record's header `manifest`."""
    return orjson.dumps(dict(snapshot.manifest))


def event(event: Event) -> bytes:
    """Value of an event's record."""
    return orjson.dumps(event)
