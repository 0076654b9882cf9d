"""Transactions and labels in the order of event time, as the messages that go out."""

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.errors import SettingsError
from producer_sim import encode
from producer_sim.labels import Labelling, uniform
from producer_sim.publish import Pace
from producer_sim.rows import UNKNOWN, Transactions
from producer_sim.scenarios import Scenario, stream
from producer_sim.schedule import Messages, schedule
from producer_sim.times import UNITS_MS, duration_ms, iso_ms, point_ms

SCHEMAS = Path(__file__).parent.parent / "schemas"


def rows(times: list[int], is_fraud: list[int] | None = None, first: int = 0) -> Transactions:
    return Transactions(
        ids=[f"t{number}" for number in range(first, first + len(times))],
        times=np.array(times, np.int64),
        features={"V1": np.zeros(len(times), np.float32)},
        is_fraud=np.array(is_fraud or [0] * len(times), np.int8),
    )


def order(messages: Iterator[Messages]) -> list[str]:
    """`t3` for the third transaction, `L3` for its label."""
    return [
        key.replace("t", "L") if is_label else key
        for some in messages
        for is_label, key in zip(some.is_label, some.keys, strict=True)
    ]


def label_values(messages: Iterator[Messages]) -> list[dict[str, object]]:
    return [
        json.loads(value)
        for some in messages
        for is_label, value in zip(some.is_label, some.values, strict=True)
        if is_label
    ]


def test_a_label_goes_out_when_the_stream_reaches_its_time() -> None:
    chunks = [rows([0, 10, 20, 30]), rows([40, 50], first=4)]
    messages = schedule(chunks, Labelling(delay_ms=15))
    # At 15 the first label, at 25 the second; those of 45 and later than the end come last.
    assert order(messages) == [
        *("t0", "t1", "L0", "t2", "L1", "t3", "L2", "t4", "L3", "t5"),
        *("L4", "L5"),
    ]


def test_at_a_tie_the_transaction_goes_first_across_chunks_too() -> None:
    chunks = [rows([0, 10]), rows([10, 10], first=2), rows([20], first=4)]
    assert order(schedule(chunks, Labelling(delay_ms=0))) == [
        *("t0", "L0", "t1", "t2", "t3", "L1", "L2", "L3", "t4", "L4"),
    ]


def test_a_label_says_what_and_when() -> None:
    chunk = rows([1_000, 2_000], is_fraud=[1, 0])
    assert label_values(schedule([chunk], Labelling(delay_ms=500))) == [
        {"transaction_id": "t0", "is_fraud": 1, "labelled_at": 1_500, "source": "chargeback"},
        {"transaction_id": "t1", "is_fraud": 0, "labelled_at": 2_500, "source": "chargeback"},
    ]


def test_what_has_no_label_gets_none() -> None:
    chunk = rows([0, 10, 20], is_fraud=[1, UNKNOWN, 0])
    assert order(schedule([chunk], Labelling())) == ["t0", "L0", "t1", "t2", "L2"]


@given(
    gaps=st.lists(st.integers(0, 3), min_size=1, max_size=40),
    delay_ms=st.integers(0, 60),
    chunk_rows=st.integers(1, 10),
)
def test_any_stream_comes_out_in_order_and_whole(
    gaps: list[int], delay_ms: int, chunk_rows: int
) -> None:
    times = np.cumsum(gaps).tolist()
    chunks = [
        rows(times[start : start + chunk_rows], first=start)
        for start in range(0, len(times), chunk_rows)
    ]
    # (time, transactions first, number): what the order is, by definition.
    events = [(time, 0, number) for number, time in enumerate(times)]
    events += [(time + delay_ms, 1, number) for number, time in enumerate(times)]
    expected = [f"{'tL'[is_label]}{number}" for _, is_label, number in sorted(events)]
    assert order(schedule(chunks, Labelling(delay_ms))) == expected


def labelled(fraction: float = 1.0, noise: float = 0.0, seed: int = 42) -> dict[str, int]:
    labelling = Labelling(fraction=fraction, noise=noise, seed=seed)
    chunks = stream(Scenario.translate, 42, rows=20_000)
    parts = [labelling.of(chunk) for chunk in chunks]
    return {
        each: int(label)
        for part in parts
        for each, label in zip(part.ids.to_pylist(), part.is_fraud, strict=True)
    }


def test_a_fraction_of_the_labels_comes_the_same_each_time() -> None:
    everything, some, fewer = labelled(), labelled(fraction=0.3), labelled(fraction=0.1)
    assert len(everything) == 20_000
    # Four standard errors of a share of 20,000 are 0.013 at 0.3 and 0.008 at 0.1.
    assert len(some) / 20_000 == pytest.approx(0.3, abs=0.013)
    assert len(fewer) / 20_000 == pytest.approx(0.1, abs=0.0085)
    assert some == labelled(fraction=0.3)
    assert fewer.items() <= some.items() <= everything.items()
    assert labelled(fraction=0.3, seed=43).keys() != some.keys()
    assert labelled(fraction=0.0) == {}


def test_noise_flips_a_share_of_the_labels_both_ways_and_whichever_come() -> None:
    truth, noisy = labelled(), labelled(noise=0.1)
    flipped = {each for each, label in truth.items() if noisy[each] != label}
    assert len(flipped) / 20_000 == pytest.approx(0.1, abs=0.0085)
    frauds = sum(truth.values())
    flipped_frauds = sum(truth[each] for each in flipped)
    assert flipped_frauds / frauds == pytest.approx(0.1, abs=0.022)  # of 3,000
    both = labelled(fraction=0.3, noise=0.1)
    assert all(noisy[each] == label for each, label in both.items())
    assert len(flipped & both.keys()) / len(both) == pytest.approx(0.1, abs=0.016)  # of 6,000


def test_ids_that_count_upwards_are_spread_evenly() -> None:
    ids = [str(number) for number in range(100_000)]
    found = uniform(ids, 42, "fraction")
    assert found.min() >= 0
    assert found.max() < 1
    # 20 cells of 5,000: four standard deviations of a count are 276.
    assert np.abs(np.histogram(found, 20, (0, 1))[0] - 5_000).max() < 280
    # Neighbours are independent of each other, and of the other purpose.
    for other in (np.roll(found, 1), np.roll(found, 10), uniform(ids, 42, "noise")):
        assert abs(np.corrcoef(found, other)[0, 1]) < 0.0127


def test_messages_are_what_the_schemas_say() -> None:
    known = {
        kind: jsonschema.Draft202012Validator(
            json.loads((SCHEMAS / f"{kind}.schema.json").read_text("utf-8"))
        )
        for kind in ("transaction", "label")
    }
    (messages,) = list(schedule(stream(Scenario.paper, 42, rows=100), Labelling()))[:1]
    for is_label, key, value in zip(messages.is_label, messages.keys, messages.values, strict=True):
        message = json.loads(value)
        known["label" if is_label else "transaction"].validate(message)
        assert message["transaction_id"] == key
    first = json.loads(messages.values[0])
    assert ",".join(first["features"]) == "V1,V2,V3,V4,V5,V6,V7,V14,V8,V9"


def test_names_and_ids_of_any_text_survive() -> None:
    odd = 'a "quoted" \\ 100% name\n'
    chunk = Transactions(
        [odd], np.array([1]), {odd: np.array([2], np.int32)}, np.array([1], np.int8)
    )
    assert json.loads(encode.transactions(chunk)[0]) == {
        "transaction_id": odd,
        "event_time": 1,
        "features": {odd: 2},
    }
    assert json.loads(encode.labels(Labelling().of(chunk))[0])["transaction_id"] == odd


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_a_float32_reads_back_to_the_same_bits(values: list[float]) -> None:
    column = np.array(values, np.float32)
    read = [json.loads(text) for text in encode.texts(column)]
    assert np.array(read, np.float64).astype(np.float32).tobytes() == column.tobytes()


@given(st.integers(0, 10_000), st.sampled_from(list(UNITS_MS)))
def test_durations(number: int, unit: str) -> None:
    if number * UNITS_MS[unit] <= 36_525 * UNITS_MS["d"]:
        assert duration_ms(f"{number}{unit}") == number * UNITS_MS[unit]
    assert duration_ms("0") == 0


@pytest.mark.parametrize("text", ["", "7", "7x", "-1s", "d", "7 d", "1e3s", "٣s", "9" * 30 + "d"])
def test_what_is_no_duration_is_refused_by_name(text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        duration_ms(text)
    assert repr(text) in str(refused.value)


def test_points_of_time() -> None:
    assert iso_ms("2026-01-01T00:00:00Z") == iso_ms("2026-01-01") == 1_767_225_600_000
    assert point_ms("2026-01-01 00:00:00.250+00:00") == 1_767_225_600_250
    assert point_ms("1767225600") == point_ms("1767225600000") == 1_767_225_600_000
    for text in ("yesterday", "2026", "20260101", "nan", "1e300", "1999-12-31", "2100-01-01"):
        with pytest.raises(SettingsError, match=text):
            point_ms(text)


def test_the_pace_counts_from_the_first_call() -> None:
    ticks = count(100.0, 0.25)
    pace = Pace(10, clock=lambda: next(ticks))
    # The first call reads the clock for the start, and again for the time since.
    assert [pace.allowed() for _ in range(4)] == [3, 6, 8, 11]
    assert Pace(None).allowed() == float("inf")
