"""Messages of the plain shape, many at a time: the hot path, dense for its speed.

msgspec reads a message into an object of exactly the members that are asked for, types checked, in
half the time that orjson takes to make dictionaries of it; the columns are filled from those in C.
1.6 µs a transaction of ten features, where `decode` one by one takes 10. A reader knows how to say
yes, and nothing else: where any message is odd, whatever the reason, it says None; the odd one is
singled out by halves, and `decode` reads or names it. Both give the same rows, and whatever stands
beside a message makes no difference to it. Members that nobody asks for are skipped, not judged:
text there that is no UTF-8 is no reason to refuse a message here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from itertools import starmap
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np
import orjson
from msgspec.structs import astuple

from consumer.columns import Float32, Float64, Int8, Int64, UInt8
from consumer.sections import LabelInput, TransactionInput

# So many at once stay within a core's cache; twice or half as many take as long.
PIECE = 512

Values = Sequence[bytes | None]
# Ids, event times, (rows, features), and (rows, columns) of what else was asked for.
Columns = tuple[list[str], Int64, Float32, UInt8 | None]
Groups = Callable[[Sequence[Any]], UInt8]  # of decoded messages
# ids, labelled at, is fraud, sources, propensities
LabelColumns = tuple[list[str], Int64, Int8, list[str | None], Float64]

C = TypeVar("C")
Reader = Callable[[Values, int], C | None]  # of messages and now in ms; None: one of them is odd

# Absent or None, of another type, no JSON, a time that no int64 can hold, brackets by the thousand.
_ODD = (TypeError, ValueError, OverflowError, RecursionError)
_Id = Annotated[str, msgspec.Meta(min_length=1)]
# One label stands for a million rows at most: figures and experts are weighed by it.
LEAST_PROPENSITY = 1e-6
_Share = Annotated[float, msgspec.Meta(ge=LEAST_PROPENSITY, le=1)]


def transactions(
    mapping: TransactionInput,
    features: Sequence[str],
    max_bytes: int,
    earliest_ms: int,
    ahead_ms: int,
    groups: Groups | None = None,
) -> Reader[Columns] | None:
    """None where ids, times (epoch milliseconds) and the object of the features are not on top.

    For `groups` messages are decoded a second time, whole.
    """
    paths = (mapping.id_path, mapping.time_path, mapping.features_path)
    if mapping.feature_paths or not _at_top(paths, mapping.time_format):
        return None
    width, group = len(features), _struct([(name, float) for name in features])
    read_one = _decoder([*zip(paths, (_Id, int, group), strict=True)])
    pack = struct.Struct(f"{width}d").pack

    def read(values: Values, now_ms: int) -> Columns | None:
        try:
            if max(map(len, values)) > max_bytes:  # type: ignore[arg-type]
                return None
            ids, times, objects = zip(*map(astuple, map(read_one, values)), strict=True)
            event_time = np.array(times, np.int64)
            # Half the time that numpy takes to ask each number what it is.
            wide = np.frombuffer(b"".join(starmap(pack, map(astuple, objects))))
            whole = None if groups is None else [*map(orjson.loads, values)]  # type: ignore[arg-type]
        except _ODD:
            return None
        # 3.4e38: beyond it a float32 is infinite, and so would be the score.
        if not (np.abs(wide) <= 3.4028234e38).all():
            return None
        if event_time.min() < earliest_ms or event_time.max() > now_ms + ahead_ms:
            return None
        x = wide.astype(np.float32).reshape(len(values), width)
        return list(ids), event_time, x, None if groups is None else groups(whole or ())

    return read


def labels(
    mapping: LabelInput, max_bytes: int, earliest_ms: int, ahead_ms: int
) -> Reader[LabelColumns] | None:
    """As `transactions`, of labels."""
    asked = (mapping.id_path, mapping.time_path, mapping.label_path)
    told = (mapping.source_path, mapping.propensity_path)  # or not
    if not _at_top((*asked, *told), mapping.time_format):
        return None
    read_one = _decoder(
        [
            *zip(asked, (_Id, int, bool | int), strict=True),
            *((path, of, None) for path, of in zip(told, (str | None, _Share | None), strict=True)),
        ]
    )

    def read(values: Values, now_ms: int) -> LabelColumns | None:
        try:
            if max(map(len, values)) > max_bytes:  # type: ignore[arg-type]
                return None
            found = zip(*map(astuple, map(read_one, values)), strict=True)
            ids, times, is_fraud, sources, shares = found
            labelled_at = np.array(times, np.int64)
        except _ODD:
            return None
        if not {0, 1}.issuperset(is_fraud):
            return None
        if labelled_at.min() < earliest_ms or labelled_at.max() > now_ms + ahead_ms:
            return None
        propensity = np.array(shares, np.float64)  # None becomes NaN
        return list(ids), labelled_at, np.array(is_fraud, np.int8), list(sources), propensity

    return read


def pieces(
    read: Reader[C] | None, values: Values, now_ms: int
) -> Iterator[tuple[int, int, C | None]]:
    """All of `values`, in order: from where to where, and the columns; of an odd message None.

    One odd message has its piece read a second time or so, in halves.
    """
    if read is None:
        yield 0, len(values), None
        return
    left = [(at, min(at + PIECE, len(values))) for at in range(0, len(values), PIECE)][::-1]
    while left:
        start, stop = left.pop()
        found = read(values[start:stop], now_ms)
        if found is None and stop - start > 1:
            middle = (start + stop) // 2
            left += [(middle, stop), (start, middle)]
        else:
            yield start, stop, found


def _at_top(paths: Sequence[str], time_format: str) -> bool:
    apart = len({*paths}) == len(paths) and all(paths) and not any("." in path for path in paths)
    return apart and time_format in ("auto", "epoch_ms")


def _struct(members: Sequence[tuple[Any, ...]]) -> type[msgspec.Struct]:
    """Of (name, type) or (name, type, default); `astuple` keeps their order."""
    fields = [
        (f"member_{n}", of, msgspec.field(name=name, default=default[0]))
        if default
        else (f"member_{n}", of, msgspec.field(name=name))
        for n, (name, of, *default) in enumerate(members)
    ]
    # They live for a moment: the garbage collector need not look for cycles in them.
    return msgspec.defstruct("Message", fields, gc=False)


def _decoder(members: Sequence[tuple[Any, ...]]) -> Callable[[Any], msgspec.Struct]:
    return msgspec.json.Decoder(_struct(members)).decode
