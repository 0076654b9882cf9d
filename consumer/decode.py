"""From the bytes of messages to columns; what cannot be read is named, never dropped.

A message is rejected whole: a transaction with one bad feature has no score we could stand behind.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
from numpy.typing import ArrayLike

from consumer import plain
from consumer.columns import Float32, Float64, Int8, Int64, Labels, Transactions, UInt8
from consumer.sections import LabelInput, TimeFormat, TransactionInput

# Before 2000 no payment stream of today began: such a time is a broken clock or a wrong unit
# (seconds read as milliseconds fall into January 1970).
EARLIEST_MS = 946_684_800_000
# Hosts and time zones may be off; more than a day ahead is a wrong unit or a broken clock.
AHEAD_MS = 24 * 3600 * 1000
# As "now" for rows that were scored: how far ahead they may be was judged then.
WHENEVER_MS = 2**62

_MISSING = object()


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that cannot be read: its place in the decoded list, and why."""

    index: int
    kind: str
    reason: str


class _UnreadableError(Exception):
    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


class TransactionDecoder:
    """Decodes transactions of one shape; features come out in the model's order."""

    def __init__(
        self,
        mapping: TransactionInput,
        features: Sequence[str],
        max_bytes: int,
        groups: plain.Groups | None = None,
    ) -> None:
        """`groups`: reads more columns of the messages, see `segments`."""
        self._groups = groups
        self._features = tuple(features)
        self._max_bytes = max_bytes
        self._id = path(mapping.id_path)
        self._time = path(mapping.time_path)
        self._time_of = _time_reader(mapping.time_format)
        self._time_path = mapping.time_path
        self._id_path = mapping.id_path
        # Features without a path of their own share one look-up of their object.
        self._group = path(mapping.features_path)
        self._group_path = mapping.features_path
        self._own = {name: (path(at), at) for name, at in mapping.feature_paths.items()}
        self._plain = plain.transactions(
            mapping, features, max_bytes, EARLIEST_MS, AHEAD_MS, groups
        )

    def __call__(
        self, partition: int, values: Sequence[bytes | None], offsets: ArrayLike, now_ms: int
    ) -> tuple[Transactions, list[Rejected]]:
        """Decode `values` of `partition`; `now_ms` bounds plausible times.

        Returns the readable rows in order, and the rejected ones by index.
        """
        ids: list[str] = []
        times: list[Int64] = []
        rows: list[Float32] = []
        groups: list[UInt8] = []
        kept: list[Int64] = []
        rejected: list[Rejected] = []
        place = np.asarray(offsets, np.int64)
        for start, stop, found in plain.pieces(self._plain, values, now_ms):
            chosen = np.arange(start, stop)
            if found is None:
                found, good, bad = self._one_by_one(values[start:stop], now_ms)
                chosen = chosen[good]
                rejected += (Rejected(start + one.index, one.kind, one.reason) for one in bad)
            ids += found[0]
            times.append(found[1])
            rows.append(found[2])
            if found[3] is not None:
                groups.append(found[3])
            kept.append(place[chosen])
        if not rows:
            rows.append(np.empty((0, len(self._features)), np.float32))
        return (
            Transactions(
                partition,
                ids,
                np.concatenate([*times, np.empty(0, np.int64)]),
                np.concatenate(rows),
                np.concatenate([*kept, np.empty(0, np.int64)]),
                None if not groups else np.concatenate(groups),
            ),
            rejected,
        )

    def _one_by_one(
        self, values: Sequence[bytes | None], now_ms: int
    ) -> tuple[plain.Columns, list[int], list[Rejected]]:
        """The readable rows, their indices, and the rejected messages by index."""
        ids: list[str] = []
        times: list[int] = []
        rows: list[list[float]] = []
        messages: list[Any] = []
        kept: list[int] = []
        rejected: list[Rejected] = []
        for index, value in enumerate(values):
            try:
                message = _parse(value, self._max_bytes)
                row = self._row(message)
                time_ms = _plausible(
                    self._time_of(self._time(message), self._time_path), self._time_path, now_ms
                )
                ids.append(_id(self._id(message), self._id_path))
            except _UnreadableError as error:
                rejected.append(Rejected(index, error.kind, error.reason))
                continue
            times.append(time_ms)
            rows.append(row)
            messages.append(message)
            kept.append(index)
        x = np.array(rows, dtype=np.float32).reshape(len(rows), len(self._features))
        groups = None if self._groups is None else self._groups(messages)
        return (ids, np.array(times, dtype=np.int64), x, groups), kept, rejected

    def _row(self, message: Any) -> list[float]:
        group = self._group(message)
        row: list[float] = []
        for name in self._features:
            own = self._own.get(name)
            if own is not None:
                value, where = own[0](message), own[1]
            else:
                value = group.get(name, _MISSING) if isinstance(group, dict) else _MISSING
                where = f"{self._group_path}.{name}" if self._group_path else name
            if value is _MISSING:
                raise _UnreadableError("MissingFeature", f"{where} is missing")
            # bool is a subclass of int: true is no number.
            if type(value) is not float and type(value) is not int:
                raise _UnreadableError("NotANumber", f"{where} is {_shown(value)}, not a number")
            # 3.4e38: beyond it a float32 is infinite, and so would be the score.
            if not abs(value) <= 3.4028234e38:
                raise _UnreadableError(
                    "NotFinite", f"{where} is {_shown(value)}, too large for float32"
                )
            row.append(value)
        return row


class LabelDecoder:
    """Decodes labels of one shape."""

    def __init__(self, mapping: LabelInput, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._mapping = mapping
        self._id = path(mapping.id_path)
        self._label = path(mapping.label_path)
        self._time = path(mapping.time_path)
        self._time_of = _time_reader(mapping.time_format)
        self._source = path(mapping.source_path)
        self._propensity = path(mapping.propensity_path)
        self._plain = plain.labels(mapping, max_bytes, EARLIEST_MS, AHEAD_MS)

    def __call__(
        self, partition: int, values: Sequence[bytes | None], offsets: ArrayLike, now_ms: int
    ) -> tuple[Labels, list[Rejected]]:
        """Decode `values` of `partition`; `now_ms` bounds plausible times."""
        ids: list[str] = []
        times: list[Int64] = []
        labels: list[Int8] = []
        sources: list[str | None] = []
        propensities: list[Float64] = []
        kept: list[Int64] = []
        rejected: list[Rejected] = []
        place = np.asarray(offsets, np.int64)
        for start, stop, found in plain.pieces(self._plain, values, now_ms):
            chosen = np.arange(start, stop)
            if found is None:
                found, good, bad = self._one_by_one(values[start:stop], now_ms)
                chosen = chosen[good]
                rejected += (Rejected(start + one.index, one.kind, one.reason) for one in bad)
            ids += found[0]
            times.append(found[1])
            labels.append(found[2])
            sources += found[3]
            propensities.append(found[4])
            kept.append(place[chosen])
        return (
            Labels(
                partition,
                ids,
                np.concatenate([*times, np.empty(0, np.int64)]),
                np.concatenate([*labels, np.empty(0, np.int8)]),
                sources,
                np.concatenate([*kept, np.empty(0, np.int64)]),
                np.concatenate([*propensities, np.empty(0)]),
            ),
            rejected,
        )

    def _one_by_one(
        self, values: Sequence[bytes | None], now_ms: int
    ) -> tuple[plain.LabelColumns, list[int], list[Rejected]]:
        """The readable labels, their indices, and the rejected messages by index."""
        ids: list[str] = []
        times: list[int] = []
        labels: list[int] = []
        sources: list[str | None] = []
        propensities: list[float] = []
        kept: list[int] = []
        rejected: list[Rejected] = []
        mapping = self._mapping
        for index, value in enumerate(values):
            try:
                message = _parse(value, self._max_bytes)
                label = _label(self._label(message), mapping.label_path)
                source = _optional_text(self._source(message), mapping.source_path)
                told = self._propensity(message)
                propensity = _optional_share(told, mapping.propensity_path)
                time_ms = _plausible(
                    self._time_of(self._time(message), mapping.time_path), mapping.time_path, now_ms
                )
                ids.append(_id(self._id(message), mapping.id_path))
            except _UnreadableError as error:
                rejected.append(Rejected(index, error.kind, error.reason))
                continue
            times.append(time_ms)
            labels.append(label)
            sources.append(source)
            propensities.append(propensity)
            kept.append(index)
        columns = (
            ids,
            np.array(times, dtype=np.int64),
            np.array(labels, dtype=np.int8),
            sources,
            np.array(propensities, dtype=np.float64),
        )
        return columns, kept, rejected


def _parse(value: bytes | None, max_bytes: int) -> dict[str, Any]:
    if value is None:
        raise _UnreadableError("Tombstone", "the message has no value")
    if len(value) > max_bytes:
        raise _UnreadableError("TooLarge", f"{len(value)} bytes, the limit is {max_bytes}")
    try:
        message = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise _UnreadableError("InvalidJson", str(error)) from None
    if not isinstance(message, dict):
        raise _UnreadableError("InvalidJson", f"a JSON object is expected, not {_shown(message)}")
    return message


def path(dotted: str) -> Callable[[Any], Any]:
    """Look-up by a dotted path; `_MISSING` where a step is absent. `''` is the root."""
    steps = tuple(dotted.split(".")) if dotted else ()
    if len(steps) == 1:
        only = steps[0]
        return lambda message: message.get(only, _MISSING)

    def look_up(message: Any) -> Any:
        for step in steps:
            if not isinstance(message, dict):
                return _MISSING
            message = message.get(step, _MISSING)
        return message

    return look_up


def _id(value: Any, path: str) -> str:
    if isinstance(value, str) and value:
        return value
    raise _UnreadableError("MissingId", f"{path} is {_shown(value)}, not a non-empty string")


def _label(value: Any, path: str) -> int:
    if value is True or value is False or (type(value) is int and value in (0, 1)):
        return int(value)
    raise _UnreadableError("InvalidLabel", f"{path} is {_shown(value)}, not 0, 1 or a boolean")


def _optional_text(value: Any, path: str) -> str | None:
    if value is _MISSING or value is None:
        return None
    if isinstance(value, str):
        return value
    raise _UnreadableError("InvalidSource", f"{path} is {_shown(value)}, not a string")


def _optional_share(value: Any, path: str) -> float:
    if value is _MISSING or value is None:
        return math.nan
    least = plain.LEAST_PROPENSITY
    if (type(value) is float or type(value) is int) and least <= value <= 1:
        return float(value)
    why = f"{path} is {_shown(value)}, not from {least:g} to 1"
    raise _UnreadableError("InvalidPropensity", why)


def _time_reader(time_format: TimeFormat) -> Callable[[Any, str], int]:
    def epoch_ms(value: Any, path: str) -> int:
        if type(value) is int:
            return value
        raise _UnreadableError(
            "InvalidTime", f"{path} is {_shown(value)}, not whole epoch milliseconds"
        )

    def epoch_s(value: Any, path: str) -> int:
        # 1e12 s is the year 33658: past it lies nothing plausible, and soon no whole number.
        if (type(value) is int or type(value) is float) and abs(value) < 1e12:
            return round(value * 1000)
        raise _UnreadableError("InvalidTime", f"{path} is {_shown(value)}, not epoch seconds")

    def iso8601(value: Any, path: str) -> int:
        if isinstance(value, str):
            try:
                parsed = datetime.fromisoformat(value)
            except ValueError:
                pass
            else:
                # A time without a zone is taken as UTC: hosts differ, the stream must not.
                aware = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
                return round(aware.timestamp() * 1000)
        raise _UnreadableError("InvalidTime", f"{path} is {_shown(value)}, not an ISO 8601 time")

    def auto(value: Any, path: str) -> int:
        if type(value) is int:
            return value
        if isinstance(value, str):
            return iso8601(value, path)
        raise _UnreadableError(
            "InvalidTime", f"{path} is {_shown(value)}, neither epoch milliseconds nor ISO 8601"
        )

    return {"epoch_ms": epoch_ms, "epoch_s": epoch_s, "iso8601": iso8601, "auto": auto}[time_format]


def _plausible(time_ms: int, path: str, now_ms: int) -> int:
    if time_ms < EARLIEST_MS:
        raise _UnreadableError("ImplausibleTime", f"{path} is {time_ms} ms, before the year 2000")
    if time_ms > now_ms + AHEAD_MS:
        raise _UnreadableError("ImplausibleTime", f"{path} is {time_ms} ms, over a day ahead")
    return time_ms


def _shown(value: Any) -> str:
    if value is _MISSING:
        return "missing"
    try:
        text = repr(value)
    except RecursionError:  # orjson reads a thousand brackets in each other
        return "nested too deeply"
    return text if len(text) <= 40 else text[:37] + "..."
