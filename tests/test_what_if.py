"""What-if: past decisions at other prices, on the published matrices and on weighed rows."""

import numpy as np
import pytest
from rich.console import Console

from consumer.decision import decided
from consumer.prequential import Prequential, prequential
from consumer.sections import Cost
from consumer.what_if import what_if
from consumer.what_if_command import as_object, table, verdict
from tests.a_run import published

# The confusion matrices that the article prints: (TP, TN, FP, FN) on the same 1,000 rows.
HEALED = (51, 673, 177, 99)
FROZEN = (128, 318, 532, 22)
THRESHOLD = 0.5


def published_rows(missed=5000.0):
    """1,000 rows on which both models decide as the article says, four scores each."""

    def scores(tp, tn, fp, fn):
        return np.repeat([0.9, 0.1, 0.8, 0.2], [tp, fn, fp, tn])  # frauds come first

    label = np.repeat([1, 0], [150, 850]).astype(np.int8)
    count = np.arange(1_000)
    return Prequential(
        np.zeros(1_000, np.int64),
        count,
        label,
        scores(*HEALED),
        scores(*FROZEN),
        np.full(1_000, THRESHOLD),
        decided(scores(*HEALED), THRESHOLD, 0.85),
        decided(scores(*FROZEN), THRESHOLD, 0.85),
        np.ones(1_000),
        np.full(1_000, missed),
    )


def test_on_the_published_matrices_the_frozen_model_is_the_cheaper_one():
    found = what_if(published_rows(), (15.0, 200.0))

    assert tuple(found.healed.counts) == HEALED
    assert tuple(found.frozen.counts) == FROZEN
    assert [at.cost for at in found.frozen.prices] == [117_980, 216_400]
    assert [at.cost for at in found.healed.prices] == [497_655, 530_400]
    assert round(found.break_even) == 1_085
    assert found.cheaper_above == "healed"
    said = verdict(found)
    assert "at an FP of 15 frozen is the cheaper one; at an FP of 200 frozen is" in said
    assert "both cost the same at an FP of 1,084.51, above it healed is cheaper" in said


def test_the_cheapest_threshold_is_cheaper_than_the_one_in_force():
    found = what_if(published_rows(), (15.0, 1_000_000.0))

    cheap, dear = found.frozen.prices
    # At 15 it is cheapest to flag all; where an alarm costs a fortune, nothing above the frauds.
    assert (cheap.threshold, cheap.cost_there) == (0.0, 850 * 15)
    assert dear.threshold == pytest.approx(0.85)
    assert dear.cost_there == 22 * 5000


def test_rows_count_with_their_weight():
    joined = published().labelled
    plain = what_if(prequential(joined), (15.0,))
    for row in joined:
        row["weight"] = 4.0
    found = what_if(prequential(joined), (15.0,))

    assert (found.rows, found.weight) == (2_500, 10_000)
    assert tuple(found.healed.counts) == tuple(4 * n for n in plain.healed.counts)
    assert found.healed.prices[0].cost == 4 * plain.healed.prices[0].cost
    assert found.break_even == pytest.approx(plain.break_even)
    assert "which stand for 10,000" in str(table(found, 5000.0).title)


def test_where_no_price_makes_them_equal_it_is_said():
    rows = published_rows()
    same = Prequential(
        *(getattr(rows, name) for name in ("partition", "offset", "label")),
        rows.score,
        rows.score,
        rows.threshold,
        rows.decision,
        rows.decision,
        rows.weight,
        rows.missed,
    )
    found = what_if(same, (15.0,))

    assert (found.break_even, found.cheaper_above) == (None, None)
    assert "neither is the cheaper one; no price of an FP makes them equal" in verdict(found)


def test_the_table_fits_eighty_columns():
    console = Console(width=80, record=True)
    console.print(table(what_if(published_rows(), (15.0, 200.0)), 5000.0))

    lines = console.export_text().splitlines()
    assert lines[0].startswith("1,000 labelled rows; a missed fraud costs 5,000")
    assert any(line.split()[-3:] == ["497,655", "0.0000", "12,750"] for line in lines)
    assert not any("…" in line for line in lines)


def test_machines_get_all_of_it():
    found = as_object(what_if(published_rows(), (15.0,)), 5000.0)

    assert found["healed"]["fp"] == 177
    assert found["frozen"]["prices"] == [
        {"false_alarm": 15.0, "cost": 117_980.0, "threshold": 0.0, "cost_there": 12_750.0}
    ]
    assert (found["rows"], found["missed_fraud"]) == (1_000, 5000.0)
    assert prequential([], Cost()).missed.tolist() == []
