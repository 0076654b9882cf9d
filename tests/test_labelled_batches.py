"""Labels that are late, few or absent: what is healed on, and when."""

import numpy as np
import pytest

from consumer import metrics
from tests.pipelines import INLINE, drifting, versions
from tests.streams import BATCH, DRIFT, events, idle, labels_of, running, score, stream


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
