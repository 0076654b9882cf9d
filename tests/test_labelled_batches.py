"""Labels that are late, few or absent: what is healed on, and when."""

import numpy as np
import pytest

from consumer import metrics
from tests.pipelines import INLINE, drifting, versions
from tests.streams import (
    BATCH,
    DRIFT,
    START_MS,
    events,
    idle,
    labels_of,
    running,
    score,
    stream,
)


def test_labels_late_by_five_batches():
    batches = drifting(12)
    with running(INLINE) as pipeline:
        for number, batch in enumerate(batches):
            score(pipeline, batch)
            if number >= 5:
                labels_of(pipeline, batches[number - 5])
        out = pipeline.out.take()

    judged = events(out, "batch-labelled")
    assert [(e["labelled_batch"], e["offset"]) for e in judged] == [
        (number, number * BATCH - 1) for number in range(1, 8)
    ]
    assert {e["action"] for e in judged} <= {"heal", "rollback"}
    # Prequential: of the scores as published, whichever adapter made them.
    for e, scored, batch in zip(judged, out.scores, batches, strict=False):
        assert e["healed"] == metrics.figures(scored.score, batch.labels.is_fraud, 0.5)
        assert e["frozen"] == metrics.figures(scored.shadow, batch.labels.is_fraud, 0.5)
    assert versions(out)[: 6 * BATCH] == [1] * 6 * BATCH
    assert versions(out)[-1] > 1


@pytest.mark.parametrize("chunk", [1, 7, BATCH + 1, 6 * BATCH])
def test_labelled_batches_do_not_depend_on_how_the_labels_come(chunk):
    whole = stream(6 * BATCH, drift=DRIFT)
    with running(INLINE) as pipeline:
        for batch in whole.batches():
            score(pipeline, batch)
        for start in range(0, len(whole), chunk):
            pipeline.labels(whole.labels.rows(start, start + chunk), idle)
        judged = events(pipeline.out, "batch-labelled")

    assert [(e["offset"], e["rows"]) for e in judged] == [
        (number * BATCH - 1, BATCH) for number in range(1, 7)
    ]
    assert [e["labelled_batch"] for e in judged] == list(range(1, 7))


def test_a_tenth_of_the_labels_makes_a_tenth_of_the_labelled_batches():
    known = np.random.default_rng(0).permutation(50 * BATCH) < 5 * BATCH
    with running(INLINE) as pipeline:
        for batch in drifting(50):
            score(pipeline, batch)
            for row in np.flatnonzero(known[batch.transactions.offset]):
                pipeline.labels(batch.labels.rows(row, row + 1), idle)
        out = pipeline.out.take()

    last_rows = np.flatnonzero(known)[BATCH - 1 :: BATCH]
    judged = events(out, "batch-labelled")
    assert [e["offset"] for e in judged] == last_rows.tolist()
    assert {e["rows"] for e in judged} == {BATCH}
    assert len(events(out, "heal-deployed")) == 5
    assert sum(map(len, out.labelled)) == 5 * BATCH


def test_without_labels_nothing_is_healed():
    with running(INLINE) as pipeline:
        for batch in drifting(10):
            score(pipeline, batch)

        out = pipeline.out.take()
        assert len(events(out, "drift-detected")) == 1
        assert set(versions(out)) == {1}


def test_an_alarm_that_is_over_is_healed_on_once():
    calm = list(stream(9 * BATCH, start=3 * BATCH).batches())
    with running(INLINE) as pipeline:
        for batch in [*drifting(3), *calm[:5]]:
            score(pipeline, batch)
        assert pipeline.healing.state == "HEALTHY"

        for batch in calm[:3]:
            labels_of(pipeline, batch)

        judged = events(pipeline.out, "batch-labelled")
        assert [e["action"] for e in judged] == ["heal", "none", "none"]
        assert events(pipeline.out, "heal-requested")[0]["reasons"][0].startswith("fidi V14 z ")


def ends(whole, chunks, flags):
    """Rows of each labelled batch: all is scored, in chunks, then each chunk's labels come."""
    with running({**INLINE, **flags}) as pipeline:
        score(pipeline, whole)
        for stop, start in zip([*chunks, len(whole)], [0, *chunks], strict=True):
            pipeline.labels(whole.labels.rows(start, stop), idle)
        return [e["rows"] for e in events(pipeline.out, "batch-labelled")]


@pytest.mark.parametrize("chunks", [[], [1, 7, 49, 50, 51, 120], list(range(1, 160))])
def test_a_busy_streams_labelled_batch_spans_its_time_as_a_monitor_batch_does(chunks):
    # A label every 100 ms: 20 rows are there after 2 s, and the batch ends after 5.
    whole = stream(160)

    assert ends(whole, chunks, {"batch.span_s": 5}) == [51, 51, 51]


def test_labels_that_come_all_at_once_wait_for_no_later_ones():
    first, second = stream(2 * 50 + 30).batches(50), stream(50, start=130)
    first = list(first)
    for each in first:
        each.labels.labelled_at[:] = START_MS
    with running({**INLINE, "batch.span_s": 5}) as pipeline:
        for each in first[:2]:
            score(pipeline, each)
        pipeline.labels(first[0].labels, idle)
        assert not events(pipeline.out, "batch-labelled")
        score(pipeline, first[2])  # a batch that ends takes what is there
        pipeline.labels(first[1].labels.rows(0, BATCH - 1), idle)
        score(pipeline, second)  # too few
        pipeline.labels(first[1].labels.rows(BATCH - 1, BATCH), idle)
        pipeline.settle(idle)  # nothing comes any more

        judged = events(pipeline.out, "batch-labelled")
        assert [e["rows"] for e in judged] == [50, BATCH]
        assert judged[0]["offset"] == 49


def test_a_months_labels_in_one_file_are_several_batches():
    most = 100 * BATCH
    whole = stream(2 * most + BATCH)
    whole.labels.labelled_at[:] = START_MS

    assert ends(whole, [700], {"batch.span_s": 5}) == [most, most]


@pytest.mark.parametrize("policy", ["hedge", "paper"])
def test_what_is_said_of_labels_stands_in_one_order_however_they_come(policy):
    whole = stream(8 * BATCH, drift=DRIFT)

    def told(chunk):
        flags = {**INLINE, "heal.policy": policy, "prequential.window_rows": 30}
        with running(flags) as pipeline:
            for batch in whole.batches():
                score(pipeline, batch)
            for start in range(0, len(whole), chunk):
                pipeline.labels(whole.labels.rows(start, start + chunk), idle)
            return [(e["event"]["action"], e["event"]["id"]) for e in pipeline.out.events]

    by_row = told(1)
    assert {"prequential", "batch-labelled"} <= {action for action, _ in by_row}
    assert told(7) == told(3 * BATCH) == told(len(whole)) == by_row
