"""Arguments of the benchmarks: what is wrong with one is said before anything long starts."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["flat", "--held", "-1"], "--held: a whole number from 1 on, not '-1'"),
        (["throughput", "--rows", "0"], "--rows: a whole number from 1 on, not '0'"),
        (["throughput", "--before", "nowhere"], "--before: nowhere: no checkout"),
        (["latency", "--rate", "many"], "--rate: a whole number from 1 on, not 'many'"),
        (["delivery", "--rows", "1e3"], "--rows: a whole number from 1 on, not '1e3'"),
        (["peers", "--rows", "-1"], "--rows: a whole number from 1 on, not '-1'"),
        (["labels", "nowhere.parquet"], "nowhere.parquet: no such file"),
        (["labels", "--last-day", "91"], "--last-day: a whole number from 0 to 90, not '91'"),
        (["paper", "--rows", "1"], "unrecognized arguments: --rows 1"),
        (["study", "--processes", "0"], "--processes: a whole number from 1 on, not '0'"),
        (["study.handbook", "f", "--share", "2"], "--share: a number from 0 to 1, not '2'"),
        (["study.handbook", "f", "--policy", "nope"], "--policy: invalid choice: 'nope'"),
        (["study.against_river", "--delay-batches", "-1"], "whole numbers such as 101,102"),
    ],
)
def test_a_wrong_argument_is_one_line(arguments, said):
    module, *rest = arguments
    ended = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *rest],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode in (1, 2)
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
