"""Bytes of messages to columns: what is read, what is refused, and that a refusal stays alone."""

import json
import time
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer import plain
from consumer.decode import AHEAD_MS, EARLIEST_MS, LabelDecoder, TransactionDecoder
from consumer.sections import LabelInput, TransactionInput

NOW_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z
GOOD = {"transaction_id": "a", "event_time": NOW_MS, "features": {"V14": -2.5, "V3": 1}}
GOOD_KEYS = ("V3", "V14")
LABEL = {"transaction_id": "a", "labelled_at": NOW_MS, "is_fraud": 1, "source": "chargeback"}


def transactions(*messages, max_bytes=1_000, **mapping):
    """Decode messages (bytes as they are, else as JSON) at the offsets 10, 11, …"""
    decode = TransactionDecoder(TransactionInput(**mapping), ["V3", "V14"], max_bytes)
    return decode(2, _bytes(messages), range(10, 10 + len(messages)), NOW_MS)


def labels(*messages, max_bytes=1_000, **mapping):
    decode = LabelDecoder(LabelInput(**mapping), max_bytes)
    return decode(2, _bytes(messages), range(10, 10 + len(messages)), NOW_MS)


def _bytes(messages):
    return [m if m is None or isinstance(m, bytes) else json.dumps(m).encode() for m in messages]


def why(message, **mapping):
    """Kind and reason for which a transaction is refused."""
    rows, (refused,) = transactions(message, **mapping)
    assert len(rows) == 0
    return refused.kind, refused.reason


def test_columns_come_in_the_models_order():
    rows, refused = transactions(GOOD, GOOD | {"transaction_id": "b", "surprise": [1]})

    assert refused == []
    assert (rows.partition, rows.ids, rows.offset.tolist()) == (2, ["a", "b"], [10, 11])
    assert rows.event_time.tolist() == [NOW_MS, NOW_MS]
    assert rows.x.dtype == np.float32
    assert rows.x.tolist() == [[1.0, -2.5], [1.0, -2.5]]


def test_another_teams_shape_is_mapped_by_dotted_paths():
    message = {
        "payment": {"id": "p-1", "at": {"utc": 1_767_225_600.25}},
        "model": {"input": {"V3": 3}},
        "velocity": {"14": 4.5},
    }

    rows, refused = transactions(
        message,
        id_path="payment.id",
        time_path="payment.at.utc",
        time_format="epoch_s",
        features_path="model.input",
        feature_paths={"V14": "velocity.14"},
    )

    assert refused == []
    assert (rows.ids, rows.event_time.tolist()) == (["p-1"], [NOW_MS + 250])
    assert rows.x.tolist() == [[3.0, 4.5]]


def test_features_may_lie_at_the_root():
    rows, refused = transactions(GOOD | {"V3": 1, "V14": 2}, features_path="")

    assert refused == []
    assert rows.x.tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize(
    ("value", "shift_ms"),
    [
        (NOW_MS, 0),
        ("2026-01-01T00:00:00Z", 0),
        ("2026-01-01T02:00:00+02:00", 0),
        ("2025-12-31T19:00:00.125-05:00", 125),
        ("2026-01-01T00:00:00.001", 1),
    ],
)
def test_times_are_whole_milliseconds_or_iso_8601(value, shift_ms):
    rows, _ = transactions(GOOD | {"event_time": value})

    assert rows.event_time.tolist() == [NOW_MS + shift_ms]


def test_a_time_without_a_zone_is_utc_wherever_we_run(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        rows, _ = transactions(GOOD | {"event_time": "2026-01-01T00:00:00"})
    finally:
        monkeypatch.undo()
        time.tzset()

    assert rows.event_time.tolist() == [NOW_MS]


@given(st.integers(EARLIEST_MS, NOW_MS + AHEAD_MS))
def test_an_iso_time_is_read_to_the_millisecond(time_ms):
    seconds, rest = divmod(time_ms, 1000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{rest:03}Z"

    rows, _ = transactions(GOOD | {"event_time": text}, time_format="iso8601")

    assert rows.event_time.tolist() == [time_ms]


@pytest.mark.parametrize(
    ("time_format", "value"),
    [
        ("auto", 1_767_225_600_000.5),
        ("auto", str(NOW_MS)),
        ("auto", True),
        ("auto", None),
        ("epoch_ms", "2026-01-01T00:00:00Z"),
        ("epoch_s", "1767225600"),
        ("epoch_s", True),
        ("iso8601", NOW_MS),
        ("iso8601", "yesterday"),
    ],
)
def test_a_time_of_another_format_is_refused(time_format, value):
    kind, reason = why(GOOD | {"event_time": value}, time_format=time_format)

    assert kind == "InvalidTime"
    assert reason.startswith("event_time is ")


def test_a_missing_time_is_refused():
    message = {name: value for name, value in GOOD.items() if name != "event_time"}

    assert why(message) == (
        "InvalidTime",
        "event_time is missing, neither epoch milliseconds nor ISO 8601",
    )


@pytest.mark.parametrize(
    ("time_ms", "reason"),
    [
        (EARLIEST_MS - 1, "before the year 2000"),
        (NOW_MS // 1000, "before the year 2000"),  # seconds where milliseconds are meant
        (NOW_MS + AHEAD_MS + 1, "over a day ahead"),
    ],
)
def test_implausible_times_are_refused(time_ms, reason):
    assert why(GOOD | {"event_time": time_ms}) == (
        "ImplausibleTime",
        f"event_time is {time_ms} ms, {reason}",
    )


def test_the_ends_of_what_is_plausible_are_read():
    rows, refused = transactions(
        GOOD | {"event_time": EARLIEST_MS}, GOOD | {"event_time": NOW_MS + AHEAD_MS}
    )

    assert (len(rows), refused) == (2, [])


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("-2.5", "NotANumber"),
        (True, "NotANumber"),
        (None, "NotANumber"),
        ([1], "NotANumber"),
        (3.5e38, "NotFinite"),
    ],
)
def test_a_feature_that_is_no_number_is_refused(value, kind):
    found, reason = why(GOOD | {"features": {"V3": 1, "V14": value}})

    assert found == kind
    assert reason.startswith(f"features.V14 is {value!r}"[:40])


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
def test_numbers_that_json_does_not_have_are_refused(number):
    value = b'{"transaction_id":"a","event_time":1767225600000,"features":{"V3":1,"V14":%s}}'

    assert transactions(value % b"1")[1] == []
    assert why(value % number)[0] == "InvalidJson"


@pytest.mark.parametrize(
    ("features", "reason"),
    [
        ({"V3": 1}, "features.V14 is missing"),
        ({}, "features.V3 is missing"),
        ([1, 2], "features.V3 is missing"),
        (None, "features.V3 is missing"),
    ],
)
def test_a_missing_feature_is_named(features, reason):
    assert why(GOOD | {"features": features}) == ("MissingFeature", reason)


@pytest.mark.parametrize("identity", ["", 17, None])
def test_an_id_is_a_text_that_is_not_empty(identity):
    assert why(GOOD | {"transaction_id": identity})[0] == "MissingId"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "Tombstone"),
        (b"", "InvalidJson"),
        (b"{", "InvalidJson"),
        (b"[1]", "InvalidJson"),
        (b'"text"', "InvalidJson"),
        (b"null", "InvalidJson"),
        (b"\xff\xfe", "InvalidJson"),
        (b"[" * 900, "InvalidJson"),
    ],
)
def test_what_is_no_json_object_is_refused(value, kind):
    assert why(value)[0] == kind
    assert labels(value)[1][0].kind == kind


def test_a_message_is_too_large_above_the_limit_and_not_at_it():
    value = json.dumps(GOOD).encode()

    assert transactions(value, max_bytes=len(value))[1] == []
    (refused,) = transactions(value, max_bytes=len(value) - 1)[1]
    assert refused.kind == "TooLarge"
    assert refused.reason == f"{len(value)} bytes, the limit is {len(value) - 1}"


@given(st.lists(st.sampled_from(["good", "tombstone", "text", "no feature", "no id"])))
def test_a_refusal_takes_no_other_message_with_it(kinds):
    messages = {
        "good": GOOD,
        "tombstone": None,
        "text": b"text",
        "no feature": GOOD | {"features": {}},
        "no id": GOOD | {"transaction_id": ""},
    }

    rows, refused = transactions(*(messages[kind] for kind in kinds))

    good = [index for index, kind in enumerate(kinds) if kind == "good"]
    assert rows.offset.tolist() == [10 + index for index in good]
    assert rows.x.shape == (len(good), 2)
    assert [r.index for r in refused] == [i for i, kind in enumerate(kinds) if kind != "good"]


@pytest.mark.parametrize(("value", "label"), [(0, 0), (1, 1), (False, 0), (True, 1)])
def test_a_label_is_0_1_or_a_boolean(value, label):
    rows, refused = labels(LABEL | {"is_fraud": value})

    assert refused == []
    assert (rows.is_fraud.dtype, rows.is_fraud.tolist()) == (np.int8, [label])


@pytest.mark.parametrize("value", [2, -1, 1.0, "1", "true", None])
def test_another_label_is_refused(value):
    rows, (refused,) = labels(LABEL | {"is_fraud": value})

    assert len(rows) == 0
    assert refused.kind == "InvalidLabel"


def test_labels_of_another_shape_are_mapped():
    rows, refused = labels(
        {"case": {"tx": "p-1", "fraud": True, "closed": "2026-01-01T00:00:00Z"}},
        id_path="case.tx",
        label_path="case.fraud",
        time_path="case.closed",
        source_path="case.by",
    )

    assert refused == []
    assert (rows.ids, rows.labelled_at.tolist(), rows.source) == (["p-1"], [NOW_MS], [None])


def test_the_source_may_be_absent_but_not_of_another_kind():
    rows, refused = labels(LABEL, LABEL | {"source": None}, LABEL | {"source": 7})

    assert rows.source == ["chargeback", None]
    assert [(r.index, r.kind) for r in refused] == [(2, "InvalidSource")]


def test_a_label_from_the_day_after_tomorrow_is_refused():
    _, (refused,) = labels(LABEL | {"labelled_at": NOW_MS + AHEAD_MS + 1})

    assert refused.kind == "ImplausibleTime"


# --- The hot path ---

# The same shape, told feature by feature: it is read one by one.
ONE_BY_ONE = {"feature_paths": {"V3": "features.V3", "V14": "features.V14"}}

_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.floats(1e38, 1e39)
    | st.text(max_size=2)
    | st.just("1.5"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=1), inner),
    max_leaves=2,
)
_times = st.integers(NOW_MS - 5, NOW_MS + 5) | st.sampled_from(
    [0, EARLIEST_MS - 1, EARLIEST_MS, NOW_MS + AHEAD_MS, NOW_MS + AHEAD_MS + 1, 2**63, "2026-01-01"]
)
_good = st.fixed_dictionaries(
    {
        "transaction_id": st.text(min_size=1, max_size=3),
        "event_time": st.integers(NOW_MS - 5, NOW_MS + 5),
        "features": st.fixed_dictionaries(
            {name: st.floats(-1e38, 1e38) | st.integers(-(2**63), 2**64 - 1) for name in GOOD_KEYS}
        ),
    }
)
_odd = (
    st.fixed_dictionaries(
        {},
        optional={
            "transaction_id": _json | st.just("a"),
            "event_time": _json | _times,
            "features": _json
            | st.fixed_dictionaries({}, optional=dict.fromkeys(GOOD_KEYS, _json | st.just(1.5))),
        },
    )
    | _json
    | st.sampled_from([None, b"", b"{", b"\xff", b'{"transaction_id": "\xff"}', b"x" * 2_000])
)


@given(st.lists(_good | _odd, max_size=6), st.integers(1, 3))
def test_many_at_a_time_and_one_by_one_read_the_same(messages, piece):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain, "PIECE", piece)
        quick, refused_quick = transactions(*messages)
    slow, refused_slow = transactions(*messages, **ONE_BY_ONE)
    # The one by one path alone names what is wrong, and where.
    assert [(one.index, one.kind) for one in refused_quick] == [
        (one.index, one.kind) for one in refused_slow
    ]
    assert quick.ids == slow.ids
    assert quick.offset.tolist() == slow.offset.tolist()
    assert quick.event_time.tolist() == slow.event_time.tolist()
    assert quick.x.tobytes() == slow.x.tobytes()


_good_label = st.fixed_dictionaries(
    {
        "transaction_id": st.text(min_size=1, max_size=3),
        "labelled_at": st.integers(NOW_MS - 5, NOW_MS + 5),
        "is_fraud": st.integers(0, 1) | st.booleans(),
    },
    optional={
        "source": st.none() | st.text(max_size=2),
        "propensity": st.none() | st.floats(plain.LEAST_PROPENSITY, 1) | st.just(1),
    },
)
_odd_label = (
    st.fixed_dictionaries(
        {},
        optional={
            "transaction_id": _json | st.just("a"),
            "labelled_at": _json | _times,
            "is_fraud": _json | st.sampled_from([0, 1, 2, 1.0, "1"]),
            "source": _json,
            "propensity": _json | st.sampled_from([0, 0.0, 1e-50, 1.0, 1.5, "1"]),
        },
    )
    | _json
    | st.sampled_from([None, b"", b"{", b'{"transaction_id": "\xff"}', b"x" * 2_000])
)


@given(st.lists(_good_label | _odd_label, max_size=6), st.integers(1, 3))
def test_labels_many_at_a_time_and_one_by_one_read_the_same(messages, piece):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain, "PIECE", piece)
        quick, refused_quick = labels(*messages)
        patch.setattr(plain, "labels", lambda *_: None)
        slow, refused_slow = labels(*messages)
    assert refused_quick == refused_slow
    for name in ("ids", "source"):
        assert getattr(quick, name) == getattr(slow, name)
    for name in ("labelled_at", "is_fraud", "offset", "propensity"):
        assert getattr(quick, name).tobytes() == getattr(slow, name).tobytes()


@given(st.lists(st.booleans(), min_size=1, max_size=20), st.integers(1, 8))
def test_an_odd_message_sends_no_other_to_the_slow_path(is_odd, piece):
    read_slowly = []
    odd = GOOD | {"event_time": "2026-01-01"}  # readable, and no whole number
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain, "PIECE", piece)
        one_by_one = TransactionDecoder._one_by_one
        patch.setattr(
            TransactionDecoder,
            "_one_by_one",
            lambda self, values, now_ms: (
                read_slowly.extend(values) or one_by_one(self, values, now_ms)
            ),
        )
        rows, refused = transactions(*(odd if one else GOOD for one in is_odd))

    assert (refused, rows.offset.tolist()) == ([], list(range(10, 10 + len(is_odd))))
    assert len(read_slowly) == sum(is_odd)


def test_brackets_by_the_thousand_are_a_dead_letter_of_their_own():
    for read, one in ((transactions, GOOD), (labels, LABEL)):
        deep = (
            json.dumps(one).encode()[:-1] + b', "surprise": ' + b"[" * 5_000 + b"]" * 5_000 + b"}"
        )
        rows, refused = read(one, deep, one, max_bytes=20_000)
        assert rows.offset.tolist() == [10, 12]
        assert [(bad.index, bad.kind) for bad in refused] == [(1, "InvalidJson")]


@pytest.mark.parametrize("depth", [900, 960, 1_000, 1_020])
def test_brackets_where_a_value_is_asked_for_are_named_however_deep(depth):
    nest = b"[" * depth + b"]" * depth
    deep = json.dumps({**GOOD, "features": {"V14": 0, "V3": "?"}}).encode().replace(b'"?"', nest)
    rows, refused = transactions(GOOD, deep, max_bytes=20_000)
    assert rows.offset.tolist() == [10]
    assert [(bad.index, bad.kind) for bad in refused] == [(1, "NotANumber")]
    _, (one,) = transactions(b'{"transaction_id": %b}' % nest, max_bytes=20_000)
    assert one.kind == "MissingFeature"
    _, (one,) = labels(
        json.dumps({**LABEL, "is_fraud": "?"}).encode().replace(b'"?"', nest), max_bytes=20_000
    )
    assert one.kind == "InvalidLabel"


def test_plain_labels_take_the_hot_path():
    read = plain.labels(LabelInput(), 1_000, EARLIEST_MS, AHEAD_MS)
    told = {**LABEL, "is_fraud": False, "propensity": 0.5}
    found = read([json.dumps(LABEL).encode(), json.dumps(told).encode()], NOW_MS)
    assert found is not None
    ids, times, is_fraud, sources, propensity = found
    assert (ids, times.tolist(), is_fraud.tolist()) == (["a", "a"], [NOW_MS] * 2, [1, 0])
    assert sources == ["chargeback"] * 2
    assert np.array_equal(propensity, [np.nan, 0.5], equal_nan=True)


def test_plain_messages_take_the_hot_path():
    read = plain.transactions(TransactionInput(), ["V3", "V14"], 1_000, EARLIEST_MS, AHEAD_MS)
    good = json.dumps(GOOD).encode()
    found = read([good, good], NOW_MS)
    assert found is not None
    ids, times, x, groups = found
    assert groups is None
    assert (ids, times.tolist(), x.tolist()) == (["a", "a"], [NOW_MS] * 2, [[1.0, -2.5]] * 2)
    assert read([good, None], NOW_MS) is None


def test_a_model_of_one_feature_takes_it_too():
    read = plain.transactions(TransactionInput(), ["V14"], 1_000, EARLIEST_MS, AHEAD_MS)
    found = read([json.dumps(GOOD).encode()] * 3, NOW_MS)
    assert found is not None
    assert found[2].tolist() == [[-2.5]] * 3
