"""Messages broken in every way that other teams' producers break them, drawn by hypothesis."""

import codecs
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from hypothesis import strategies as st

Headers = list[tuple[str, bytes | None]]

# Kafka's header names are strings; librdkafka's end at a NUL.
_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=6)
HEADERS: st.SearchStrategy[Headers] = st.lists(
    st.tuples(_TEXT, st.none() | st.binary(max_size=6)), max_size=3
)
_KEYS = st.none() | st.binary(max_size=8)
_NO_NUMBER = st.none() | st.booleans() | st.text(max_size=4) | st.just([1]) | st.just({"a": 1})
_NO_OBJECT = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4) | st.just([{}])

# A day is let pass, so this is ahead whenever the test runs.
FAR_AHEAD_MS = 4_102_444_800_000
LARGE = 300_000  # above input.max_message_bytes


@dataclass(frozen=True, slots=True)
class Sent:
    """A message as it was sent, and what must become of it."""

    id: str
    value: bytes | None
    key: bytes | None
    headers: Headers
    kind: str | None = None  # of its dead letter; None: it is good
    repairable: bool = False  # by `MEND`


Broken = tuple[bytes | None, str, bool]  # value, kind, repairable
Way = Callable[[Any, dict[str, Any]], Broken]


def _dumped(kind: str, message: dict[str, Any], *, repairable: bool = False) -> Broken:
    return orjson.dumps(message), kind, repairable


def _bytes(draw: Any, _: dict[str, Any]) -> Broken:
    return b"\xff" + draw(st.binary(max_size=20)), "InvalidJson", False


def _cut_short(draw: Any, message: dict[str, Any]) -> Broken:
    whole = orjson.dumps(message)
    return whole[: draw(st.integers(0, len(whole) - 1))], "InvalidJson", False


def _no_object(draw: Any, _: dict[str, Any]) -> Broken:
    return orjson.dumps(draw(st.none() | st.integers(0, 9) | st.just([{}]))), "InvalidJson", False


def _tombstone(_: Any, __: dict[str, Any]) -> Broken:
    return None, "Tombstone", False


def _byte_order_mark(_: Any, message: dict[str, Any]) -> Broken:
    return codecs.BOM_UTF8 + orjson.dumps(message), "InvalidJson", True


def _utf_16(_: Any, message: dict[str, Any]) -> Broken:
    return json.dumps(message).encode("utf-16"), "InvalidJson", False


def _surrogate(_: Any, message: dict[str, Any]) -> Broken:
    return json.dumps(message | {"note": "\ud800"}).encode(), "InvalidJson", False


def _nested(draw: Any, _: dict[str, Any]) -> Broken:
    depth = draw(st.integers(2_000, 3_000))
    return b'{"a":' * depth + b"1" + b"}" * depth, "InvalidJson", False


def _too_large(draw: Any, message: dict[str, Any]) -> Broken:
    pad = "x" * (LARGE + draw(st.integers(0, 9)))
    return _dumped("TooLarge", message | {"pad": pad}, repairable=True)


def _no_id(draw: Any, message: dict[str, Any]) -> Broken:
    return _dumped("MissingId", message | {"transaction_id": draw(_NO_OBJECT.filter(_no_text))})


def _no_text(value: object) -> bool:
    return not isinstance(value, str) or not value


def _no_time(name: str) -> Way:
    def way(draw: Any, message: dict[str, Any]) -> Broken:
        time = draw(st.none() | st.booleans() | st.floats(0, 1) | st.just("soon"))
        return _dumped("InvalidTime", message | {name: time})

    return way


def _far_off(name: str) -> Way:
    def way(draw: Any, message: dict[str, Any]) -> Broken:
        # The last is above what 64 bits hold with a sign.
        time = draw(st.sampled_from([-(2**63), -1, 0, 1_000, FAR_AHEAD_MS, 2**63 - 1, 2**64 - 1]))
        return _dumped("ImplausibleTime", message | {name: time})

    return way


def _in_seconds(name: str) -> Way:
    def way(_: Any, message: dict[str, Any]) -> Broken:
        seconds = message[name] // 1000
        return _dumped("ImplausibleTime", message | {name: seconds}, repairable=True)

    return way


def _lacks_a_feature(draw: Any, message: dict[str, Any]) -> Broken:
    lost = draw(st.sampled_from(sorted(message["features"])))
    kept = {name: value for name, value in message["features"].items() if name != lost}
    return _dumped("MissingFeature", message | {"features": kept})


def _no_features(draw: Any, message: dict[str, Any]) -> Broken:
    return _dumped("MissingFeature", message | {"features": draw(_NO_OBJECT)})


def _feature(kind: str, values: st.SearchStrategy[Any], *, repairable: bool = False) -> Way:
    def way(draw: Any, message: dict[str, Any]) -> Broken:
        features = message["features"] | {"V14": draw(values)}
        return _dumped(kind, message | {"features": features}, repairable=repairable)

    return way


def _not_json_number(draw: Any, message: dict[str, Any]) -> Broken:
    number = draw(st.sampled_from([float("nan"), float("inf"), float("-inf")]))
    features = message["features"] | {"V14": number}
    return json.dumps(message | {"features": features}).encode(), "InvalidJson", False


def _no_label(draw: Any, message: dict[str, Any]) -> Broken:
    label = draw(st.none() | st.integers(2, 9) | st.just(1.0) | st.just("1") | st.just([1]))
    return _dumped("InvalidLabel", message | {"is_fraud": label})


def _yes_or_no(_: Any, message: dict[str, Any]) -> Broken:
    said = "yes" if message["is_fraud"] else "no"
    return _dumped("InvalidLabel", message | {"is_fraud": said}, repairable=True)


def _no_source(draw: Any, message: dict[str, Any]) -> Broken:
    return _dumped("InvalidSource", message | {"source": draw(st.integers(0, 9) | st.just(["a"]))})


_OF_ANY: list[Way] = [
    *(_bytes, _cut_short, _no_object, _tombstone, _byte_order_mark, _utf_16, _surrogate, _nested),
    *(_too_large, _no_id),
]
OF_TRANSACTIONS: list[Way] = [
    *_OF_ANY,
    *(_no_time("event_time"), _far_off("event_time"), _in_seconds("event_time")),
    *(_lacks_a_feature, _no_features, _not_json_number),
    _feature("NotANumber", _NO_NUMBER),
    _feature("NotANumber", st.integers(-9, 9).map(lambda n: f"{n}.5"), repairable=True),
    _feature("NotFinite", st.floats(3.5e38, 1.7e308) | st.floats(-1.7e308, -3.5e38)),
]
OF_LABELS: list[Way] = [
    *_OF_ANY,
    *(_no_time("labelled_at"), _far_off("labelled_at"), _in_seconds("labelled_at")),
    *(_no_label, _yes_or_no, _no_source),
]

# A program for `dead-letters replay --repair`, for those that are repairable.
MEND = r"""
s/^\xef\xbb\xbf//
s/"(event_time|labelled_at)":([0-9]{10})([,}])/"\1":\2000\3/
s/"V14":"(-?[0-9]+\.[0-9]+)"/"V14":\1/
s/"is_fraud":"yes"/"is_fraud":1/
s/"is_fraud":"no"/"is_fraud":0/
s/,"pad":"x*"//
"""


@st.composite
def broken(draw: Any, ways: list[Way], message: dict[str, Any], way: int | None = None) -> Sent:
    """`message`, broken in the given way or in any one; key and headers are anything.

    But for the keys of the repairable: a replay goes where the key belongs, if there is one.
    """
    chosen = draw(st.sampled_from(ways)) if way is None else ways[way]
    value, kind, repairable = chosen(draw, message)
    name = message["transaction_id"]
    key = draw(st.none() | st.just(name.encode()) if repairable else _KEYS)
    return Sent(name, value, key, draw(HEADERS), kind, repairable)
