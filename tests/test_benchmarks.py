"""What the benchmarks of speed make and work out: streams, quantiles, ratios, windows."""

import numpy as np
import orjson
import pytest

from benchmarks import streams
from benchmarks.arrivals import Arrivals
from benchmarks.flat import costs
from benchmarks.latency import AT_REST, HEALING, Pace, Ran, healing_line
from benchmarks.live import Run
from benchmarks.soak import Soak, soak
from benchmarks.wide_network import save
from producer_sim import encode


def test_made_up_columns_are_the_same_whatever_their_number_of_rows():
    first, _ = streams.columns(15_000, 3)
    again = streams.whole(streams.columns(15_000, 3))

    assert len(again) == 15_000
    assert len(set(again.ids)) == 15_000
    assert np.array_equal(streams.matrix(again)[:10_000], streams.matrix(first))
    fraud = again.is_fraud == 1
    assert fraud.mean() == pytest.approx(streams.FRAUD_SHARE, abs=0.01)
    assert again.features["V1"][fraud].mean() == pytest.approx(-2.5, abs=0.1)
    assert again.features["V2"][fraud].mean() == pytest.approx(0.0, abs=0.1)


def test_rounded_features_are_short_in_the_message():
    (chunk,) = streams.rounded(streams.columns(100, 2), 3)
    for value in encode.transactions(chunk):
        for number in orjson.loads(value)["features"].values():
            assert round(number, 3) == number


def test_a_paced_run_is_dated_evenly_and_holds_its_warm_up():
    rows = Pace(200, 2).rows()

    assert len(rows) == 200 * (2 + 3)
    assert set(np.diff(rows.times)) == {5}


def test_a_quantile_is_a_latency_that_was_seen():
    took = Arrivals(np.array([1.0, 2.0, 3.0, 100.0]), 2_000.0)

    assert took.quantile(0.5) == 3.0
    assert took.quantile(0.99) == took.quantile(1.0) == 100.0


def test_ratios_are_of_runs_of_the_same_round():
    healing = [Ran(10.0, 0.8, 3), Ran(100.0, 0.9, 5)]
    at_rest = [Ran(20.0, 0.0, 0), Ran(100.0, 0.0, 0)]

    line = healing_line("p99", ".0f", {HEALING: healing, AT_REST: at_rest})

    assert line == ["p99", "55", "60", "**0.750**", "0.500 to 1.000", "85%", "0%", "4", "0"]
    runs = [Run(1_000, 1.0, 0.02, {}), Run(1_000, 2.0, 0.04, {})]
    halves = [Run(1_000, 1.0, 0.01, {}), Run(1_000, 1.0, 0.01, {})]
    assert costs(runs, halves)[2] == "3.00 (2.00 to 4.00)"


def test_a_window_ends_at_its_mark():
    found = Soak([float(n) for n in range(100)], [float(n) for n in range(100)])

    assert found.at(100 * streams.CHUNK) == (74.5, 99.0)
    assert found.at(10 * streams.CHUNK) == (4.5, 9.0)


def test_a_network_of_a_users_own_goes_the_whole_way(tmp_path):
    rows = streams.whole(streams.columns(2_000, 3, seed=1))
    weights, biases = 3 * 32 + 32 * 32 + 2 * 16 * 32 + 32, 3 * 32 + 16 + 1
    assert save(tmp_path / "wide", rows, 32) == weights + biases

    found = soak(tmp_path / "wide", 20_000, 3)

    assert len(found.us) == 2
    assert min(found.us) > 0
