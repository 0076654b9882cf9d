"""What the label-delay run says: no label goes unaccounted for, memory is told by rows."""

from benchmarks.labels_report import Ran, _growth, _highest
from benchmarks.processes import Sample, Watched
from consumer.settings import load


def ran(counts, labels, samples=()):
    state = {"join": {"counts": counts}, "labels": labels, "scored": 100}
    return Ran(load(), Watched(1.0, 900.0, list(samples)), {"pipeline": state})


def test_a_label_of_no_known_fate_still_waits():
    found = ran({"matched": 90, "unsampled": 4, "orphan": 3, "early": 50}, labels=100)

    assert found.joined_share == 0.9
    assert found.waits == 3


def test_growth_is_that_of_the_second_half_and_the_end_of_the_process_is_left_out():
    levels = [(0, 100), (20, 500), (50, 600), (52, 600), (97, 640), (99, 640), (100, 900)]
    found = ran({}, 0, [Sample(float(n), rows, mb) for n, (rows, mb) in enumerate(levels)])

    assert _growth(found) == 40
    assert _highest(found) == 640
