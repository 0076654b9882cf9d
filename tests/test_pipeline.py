"""The stages together, without Kafka: states, swaps, and what is scored and joined."""

from dataclasses import replace
from functools import reduce

import orjson
import pytest
import torch

from consumer import encode
from consumer.columns import Labels
from consumer.outputs import Outputs
from tests.pipelines import (
    INLINE,
    THREADED,
    TOUCHY,
    drifting,
    finish,
    heal_in_flight,
    states,
    versions,
)
from tests.streams import BATCH, FEATURES, events, idle, labels_of, model, running, score, stream

# --- States ---


def test_from_healthy_through_drifting_and_healing():
    with running(INLINE) as pipeline:
        for number, batch in enumerate(drifting(4), 1):
            pipeline.out.take()
            score(pipeline, batch)
            scored = states(pipeline.out.take())
            labels_of(pipeline, batch)
            healed = states(pipeline.out.take())
            if number < 3:
                assert scored + healed == []
            if number == 3:
                assert scored == [("HEALTHY", "DRIFTING")]
            if number >= 3:
                assert healed == [("DRIFTING", "HEALING"), ("HEALING", "DRIFTING")]


def test_rolled_back_until_the_next_heal():
    with running(TOUCHY) as pipeline:
        after = []
        for batch in [*drifting(8), *stream(3 * BATCH, start=8 * BATCH).batches()]:
            score(pipeline, batch)
            labels_of(pipeline, batch)
            after.append(pipeline.healing.state)
        out = pipeline.out.take()

    h, d, r = "HEALTHY", "DRIFTING", "ROLLED_BACK"
    assert after == [h, h, d, r, r, d, r, r, d, d, h]
    healed = [(e["labelled_batch"], e["version"]) for e in events(out, "heal-deployed")]
    assert healed == [(batch, 2 * batch - 3) for batch in range(3, 11)]
    # Back to the best so far: batch 3's, then batch 6's.
    rolled = [(e["labelled_batch"], e["restored_version"]) for e in events(out, "rollback")]
    assert rolled == [(4, 3), (5, 3), (7, 9), (8, 9)]
    assert [s.adapter_version for s in out.scores] == [1, 1, 1, 3, 3, 3, 9, 9, 9, 15, 17]
    assert [each.version for each in out.deployed] == [3, 3, 3, 9, 9, 9, 15, 17]
    last = events(out, "batch-labelled")[-1]
    assert last["action"] == "none"
    assert last["in_force"] == last["healed"] != last["frozen"]


def test_rolled_back_outlasts_the_drift():
    with running(TOUCHY) as pipeline:
        for batch in drifting(5):
            score(pipeline, batch)
            labels_of(pipeline, batch)
        for batch in stream(20 * BATCH, start=5 * BATCH).batches():
            score(pipeline, batch)

        assert len(events(pipeline.out, "drift-recovered")) == 1
        assert pipeline.healing.state == "ROLLED_BACK"  # no heal was admitted meanwhile


def test_a_drift_that_ends_is_healthy_again():
    with running(INLINE) as pipeline:
        for batch in [*drifting(3), *stream(9 * BATCH, start=3 * BATCH).batches()]:
            score(pipeline, batch)

        out = pipeline.out.take()
        assert states(out) == [("HEALTHY", "DRIFTING"), ("DRIFTING", "HEALTHY")]
        assert [e["batch"] for e in events(out, "drift-detected")] == [3]
        # z as clean batches come: 1.48, 1.14, 1.01, .90.
        assert [e["batch"] for e in events(out, "drift-recovered")] == [6]


def test_scores_carry_the_state_and_version_of_when_their_batch_began():
    with running(INLINE) as pipeline:
        for batch in drifting(5):
            score(pipeline, batch)
            labels_of(pipeline, batch)

        out = pipeline.out.take()
        assert [s.state for s in out.scores] == ["HEALTHY"] * 3 + ["DRIFTING"] * 2
        assert [s.adapter_version for s in out.scores] == [1, 1, 1, 3, 5]
        assert [(a.place.offset, a.version) for a in out.activations] == [
            (0, 1),
            (3 * BATCH, 3),
            (4 * BATCH, 5),
        ]


# --- What is scored, and by whom ---


def test_every_score_can_be_made_again_from_its_snapshot():
    of = model()
    with running(TOUCHY, of=of) as pipeline:
        for batch in drifting(9):
            score(pipeline, batch)
            labels_of(pipeline, batch)
        out = pipeline.out.take()

    assert len(events(out, "rollback")) >= 2
    by_version = {s.version: s.adapter for s in out.snapshots}
    for batch in out.scores:
        for row, x in enumerate(torch.from_numpy(batch.transactions.x)):
            h = of.module.represent(x[None])
            again = of.module.decide(h, by_version[batch.adapter_version]).item()
            assert batch.score[row] == pytest.approx(again, abs=1e-6)
            assert batch.shadow[row] == pytest.approx(of.module(x[None]).item(), abs=1e-6)


def test_an_adapter_swaps_only_at_a_batch_end(gate):
    with running(THREADED) as pipeline:
        batches = drifting(5)
        heal_in_flight(pipeline, gate, batches)
        half = BATCH // 2
        pipeline.score(batches[3].transactions.rows(0, half), idle)
        finish(pipeline, gate)
        pipeline.healing.collect()
        assert pipeline.healing.deployed.version == 3

        pipeline.out.take()
        pipeline.score(batches[3].transactions.rows(half, BATCH), idle)
        pipeline.end_batch(0, idle)
        score(pipeline, batches[4])

        out = pipeline.out.take()
        assert versions(out) == [1] * half + [3] * BATCH
        first, second = out.scores
        assert first.score.tolist() == first.shadow.tolist()  # version 1 is the frozen one
        assert second.score.tolist() != second.shadow.tolist()
        assert [a.place.offset for a in out.activations] == [4 * BATCH]


def test_a_label_that_came_before_its_transaction_is_joined_when_it_is_scored():
    with running(INLINE) as pipeline:
        (batch,) = stream(BATCH).batches()
        labels_of(pipeline, batch)
        assert events(pipeline.out, "batch-labelled") == []

        score(pipeline, batch)

        out = pipeline.out.take()
        assert [e["rows"] for e in events(out, "batch-labelled")] == [BATCH]
        assert out.labelled[0].ids == batch.transactions.ids


def test_joined_rows_and_corrections_are_published_in_the_order_of_their_labels():
    found = {}
    for at_once in (True, False):
        with running(INLINE) as pipeline:
            (batch,) = stream(BATCH).batches()
            score(pipeline, batch)
            of = batch.labels
            changed = [
                replace(of.rows(n, n + 1), is_fraud=1 - of.is_fraud[n : n + 1]) for n in (0, 3)
            ]
            parts = [of.rows(0, 2), changed[0], of.rows(2, 6), changed[1], of.rows(6, BATCH)]
            given = reduce(Labels.concatenate, parts)
            told = []
            for start in range(0, len(given), len(given) if at_once else 1):
                pipeline.labels(given.rows(start, start + (len(given) if at_once else 1)), idle)
                told += pipeline.out.take().joined()
        found[at_once] = [(n, was) for rows, was in told for n in rows.offset.tolist()]

    assert found[True] == found[False]
    assert found[True][:4] == [(0, False), (1, False), (0, True), (2, False)]
    assert found[True].index((3, True)) == 7


def test_a_corrected_label_is_published_and_is_no_new_evidence():
    with running(INLINE) as pipeline:
        (batch,) = stream(BATCH).batches()
        score(pipeline, batch)
        labels_of(pipeline, batch)
        before = pipeline.status()
        pipeline.out.take()

        changed = replace(batch.labels.rows(0, 1), is_fraud=1 - batch.labels.is_fraud[:1])
        pipeline.labels(changed, idle)

        out = pipeline.out.take()
        assert [rows.ids for _, rows in out.corrected] == [batch.transactions.ids[:1]]
        assert out.corrected[0][1].is_fraud.tolist() == changed.is_fraud.tolist()
        assert out.events == []
        after = pipeline.status()
        assert after.labelled == before.labelled
        assert abs(after.accuracy - before.accuracy) == pytest.approx(1 / BATCH)
        assert after.labels == {"matched": BATCH, "corrected": 1}


def test_corrections_count_where_they_stand_among_the_labels_in_any_pieces():
    def figures(piece):
        with running({**INLINE, "prequential.window_rows": 7}) as pipeline:
            (batch,) = stream(BATCH).batches()
            score(pipeline, batch)
            first, second = batch.labels.rows(0, 9), batch.labels.rows(9, BATCH)
            # Of rows of the window before, of the window in hand, and of the label just before.
            changed = [first.rows(row, row + 1) for row in (1, 2, 8)]
            changed = [replace(one, is_fraud=1 - one.is_fraud) for one in changed]
            sent = reduce(Labels.concatenate, [first, *changed, second])
            for start in range(0, len(sent), piece):
                pipeline.labels(sent.rows(start, min(start + piece, len(sent))), idle)
            assert pipeline.status().labels == {"matched": BATCH, "corrected": 3}
            return pipeline.out.take().events, pipeline.checkpoint(0)["running"]

    at_once = figures(BATCH + 3)
    assert len(events(Outputs(events=at_once[0]), "prequential")) == 2
    for piece in (1, 2, 5):
        assert figures(piece) == at_once


def test_what_became_of_the_labels_is_summed_over_the_partitions():
    with running(INLINE, partitions=(0, 1)) as pipeline:
        for partition in (0, 1):
            (batch,) = stream(BATCH, partition=partition).batches()
            score(pipeline, batch)
            labels_of(pipeline, batch)

        assert pipeline.status().labels == {"matched": 2 * BATCH}


def test_a_sampled_row_is_published_with_its_weight():
    with running({**INLINE, "join.max_rows": BATCH // 2}) as pipeline:
        (batch,) = stream(BATCH).batches()
        score(pipeline, batch)
        labels_of(pipeline, batch)

        (rows,) = pipeline.out.take().labelled
        assert len(rows) < BATCH
        published = [orjson.loads(v) for _, v in encode.labelled(rows, "transactions", FEATURES)]
        (weight,) = {row["weight"] for row in published}
        assert weight in (2.0, 4.0)


def test_a_label_past_the_horizon_is_not_joined():
    with running({**INLINE, "join.horizon_days": 1 / 86_400}) as pipeline:  # a second, ten rows
        (batch,) = stream(BATCH).batches()
        score(pipeline, batch)
        labels_of(pipeline, batch)

        # The last row is at 1,900 ms: rows from 900 ms on are joined.
        assert pipeline.out.take().labelled[0].ids == batch.transactions.ids[9:]
