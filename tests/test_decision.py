"""Approve, review, decline: places for reviews by the hour, the next best decision beyond them."""

from dataclasses import replace

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer import costs, encode
from consumer.decision import APPROVE, DECLINE, HOUR_MS, REVIEW, Reviews, decided, share_of
from consumer.running import Running
from consumer.sections import Cost
from tests.chunks import chunked
from tests.streams import Stream, events, labels_of, running, score, stream
from tests.test_running import labelled

THRESHOLD, DECLINED, EVEN = 0.4, 0.8, 0.6
ROWS = st.lists(
    st.tuples(
        st.sampled_from([0.1, 0.4, 0.5, 0.7, 0.9]),
        st.sampled_from([0.1, 0.4, 0.5, 0.7, 0.9]),
        st.sampled_from([-HOUR_MS, 0, 0, 1, HOUR_MS // 3, HOUR_MS, 5 * HOUR_MS]),
    ),
    max_size=40,
)


def by_hand(drawn, per_hour):
    """Row by row: decisions of both models, and the threshold each row was flagged by."""
    found, clock, hour, used = [], -(2**62), None, [0, 0]
    time = 100 * HOUR_MS
    for *scores, step in drawn:
        time += step
        clock = max(clock, time)
        if clock // HOUR_MS != hour:
            hour, used = clock // HOUR_MS, [0, 0]
        row = []
        threshold = THRESHOLD
        for number, p in enumerate(scores):
            one = DECLINE if p >= DECLINED else REVIEW if p >= THRESHOLD else APPROVE
            if one == REVIEW and used[number] == per_hour:
                one = DECLINE if p >= EVEN else APPROVE
                if number == 0:
                    threshold = EVEN
            elif one == REVIEW:
                used[number] += 1
            row.append(one)
        found.append((*row, threshold))
    return found


@settings(max_examples=400, deadline=None)
@given(ROWS, st.integers(0, 4), st.lists(st.integers(0, 12), min_size=1, max_size=4), st.data())
def test_an_hour_has_so_many_places_whatever_the_chunks_and_restarts(drawn, per_hour, sizes, data):
    times = 100 * HOUR_MS + np.cumsum([row[2] for row in drawn], dtype=np.int64)
    p, shadow = (np.array([row[n] for row in drawn], np.float64) for n in (0, 1))
    reviews, found = Reviews(per_hour), []
    for part in chunked(np.arange(len(drawn)), sizes):
        at = np.asarray(part, np.int64)
        made = reviews.decide(p[at], shadow[at], THRESHOLD, DECLINED, EVEN, times[at])
        limits = np.broadcast_to(made[2], len(at)).tolist()
        found += zip(made[0].tolist(), made[1].tolist(), limits, strict=True)
        if data.draw(st.booleans(), "restart"):
            kept = orjson.loads(orjson.dumps(reviews.state()))
            reviews = Reviews(per_hour)
            reviews.load(kept)

    expected = by_hand(drawn, per_hour)
    assert found == expected
    told = reviews.told()
    assert told["reviewed"] == [row[0] for row in expected].count(REVIEW)
    assert told["beyond"] == [row[2] for row in expected].count(EVEN)
    assert told["frozen_reviewed"] == [row[1] for row in expected].count(REVIEW)


def test_without_a_limit_nothing_is_counted_or_kept():
    reviews = Reviews(None)
    p = np.array([0.5, 0.5])
    made = reviews.decide(p, p, THRESHOLD, DECLINED, EVEN, np.zeros(2, np.int64))
    assert (made[0].tolist(), made[2]) == ([REVIEW] * 2, THRESHOLD)
    reviews.batch_ended()
    assert (reviews.state(), reviews.told(), reviews.share) == ({}, {}, None)


@given(st.integers(0, 1000), st.integers(1, 50))
def test_partitions_share_all_places_and_no_more(per_hour, partitions):
    shares = [share_of(per_hour, number, partitions) for number in range(partitions)]
    assert sum(shares) == per_hour
    assert max(shares) - min(shares) <= 1


def test_the_share_that_can_be_reviewed_is_that_of_the_traffic():
    reviews = Reviews(per_hour=50)
    none = np.zeros(400)
    for hour in range(4):  # 400 rows each, the last one at the hour's last quarter
        times = hour * HOUR_MS + np.linspace(0, 0.75 * HOUR_MS, 400).astype(np.int64)
        reviews.decide(none, none, THRESHOLD, DECLINED, EVEN, times)
        before = reviews.share
        reviews.batch_ended()
        assert reviews.share != before
    assert reviews.share == pytest.approx(50 * 3.75 / 1_600)

    rows = labelled(200)
    figures = []
    for share in (None, 0.1, 1.0):
        run = Running(200, Cost())
        run.review_share = share
        (window,) = run.add(rows)
        figures.append(window.healed.figures["recall_at_capacity"])
    top = np.argsort(-rows.score, kind="stable")[:20]
    assert figures[0] is None
    assert figures[1] == pytest.approx(rows.is_fraud[top].sum() / rows.is_fraud.sum(), abs=0.02)
    assert figures[2] == 1.0


LIMITED = {
    "cost.reviews_per_hour": 7,
    "cost.missed_fraud": 100,
    "cost.false_alarm": [100],
    "cost.review": 10,
    "decision.threshold": 0.2,
    "decision.decline_threshold": 0.9,
    "prequential.window_rows": 40,
}


def hourly(rows):
    """Two hours, `rows` each."""
    given = stream(2 * rows, seed=3)
    times = given.transactions.event_time.copy()
    times[rows:] += HOUR_MS
    labels = replace(given.labels, labelled_at=times)
    return Stream(replace(given.transactions, event_time=times), labels)


def test_beyond_the_places_of_an_hour_the_cheaper_decision_is_made_and_it_is_said():
    with running(LIMITED) as pipeline:
        for batch in hourly(200).batches():
            score(pipeline, batch)
            labels_of(pipeline, batch)
        found, out = pipeline.status(), pipeline.take()

    published = [
        orjson.loads(value) for one in out.scores for _, value in encode.scores(one, "t", "m")
    ]
    wanted = [s for s in published if 0.2 <= s["score"] < 0.9]
    for part in (published[:200], published[200:]):
        assert [s["decision"] for s in part].count("review") == 7
    beyond = [s for s in wanted if s["decision"] != "review"]
    assert len(beyond) > 20
    assert found.beyond == len(beyond) == len(wanted) - 14
    assert found.summary()["beyond_reviews"] == len(beyond)
    # A miss costs as much as a false alarm: declined from .5 on, and the threshold says so.
    assert {s["threshold"] for s in beyond} == {0.5}
    assert {s["decision"] for s in beyond} == {"approve", "decline"}
    assert all((s["decision"] == "approve") == (s["score"] < s["threshold"]) for s in published)
    last = events(out, "prequential")[-1]
    assert last["reviews"]["beyond"] <= len(beyond)
    assert last["reviews"]["per_hour"] == 7
    assert last["healed_so_far"]["reviewed"] == 14.0
    assert 0 < last["healed"]["recall_at_capacity"] < 1


def test_the_frozen_model_has_places_of_its_own():
    with running(LIMITED) as pipeline:
        batch = stream(200, seed=3)
        part = pipeline._partitions[0]
        shadow = np.full(200, 0.5)
        none = np.zeros(200)
        # Nothing of ours is to be reviewed, and the frozen model runs out of places.
        decision, frozen, threshold = part.reviews.decide(
            none, shadow, 0.2, 0.9, 0.6, batch.transactions.event_time
        )
    assert set(decision.tolist()) == {APPROVE}
    assert frozen.tolist() == [REVIEW] * 7 + [APPROVE] * 193
    assert set(threshold.tolist()) == {0.2}
    assert (part.reviews.healed.beyond, part.reviews.frozen.beyond) == (0, 193)


def test_expected_cost_takes_reviews_at_their_price_for_both_models():
    cost = Cost(missed_fraud=500, false_alarm=(30,), review=4)
    rows = labelled(400, seed=7)
    run = Running(100, cost, segments=None)
    windows = run.add(rows)

    def by_row(decision, part):
        price = {True: {0: 500, 1: 4, 2: 0}, False: {0: 0, 1: 4, 2: 30}}
        return sum(
            price[bool(y)][d]
            for y, d in zip(rows.is_fraud[part].tolist(), decision[part].tolist(), strict=True)
        )

    for number, window in enumerate(windows):
        part, so_far = slice(100 * number, 100 * number + 100), slice(0, 100 * number + 100)
        for measured, decision in (
            (window.healed, rows.decision),
            (window.frozen, rows.shadow_decision),
        ):
            assert measured.figures["expected_cost"] == [by_row(decision, part)]
            assert measured.figures["reviewed"] == (decision[part] == REVIEW).sum()
        assert window.healed_so_far.figures["expected_cost"] == [by_row(rows.decision, so_far)]
        assert window.frozen_so_far.figures["expected_cost"] == [
            by_row(rows.shadow_decision, so_far)
        ]
    bill = costs.bill(rows.decision, rows.is_fraud, 500, review=4)
    assert bill.at(30) == by_row(rows.decision, slice(None))
    each = costs.each(rows.decision, rows.is_fraud, 500, cost)
    assert each.sum() == bill.at(30)
    # Without a price who is reviewed counts as declined, as before.
    flagged = decided(rows.score, rows.threshold)
    free = costs.bill(rows.decision, rows.is_fraud, 500)
    assert free == costs.bill(flagged, rows.is_fraud, 500)


def test_a_corrected_label_moves_a_review_from_one_side_to_the_other():
    rows = labelled(50, seed=2)
    run, other = (Running(50, Cost(review=4)) for _ in range(2))
    run.add(rows)
    flipped = replace(rows, is_fraud=(1 - rows.is_fraud).astype(np.int8))
    run.correct(flipped, rows.is_fraud)
    other.add(flipped)
    for found, expected in zip(run.so_far(), other.so_far(), strict=True):
        assert found.figures["expected_cost"] == pytest.approx(expected.figures["expected_cost"])
        assert found.figures["reviewed"] == expected.figures["reviewed"]


def test_decisions_travel_with_the_row_to_its_label():
    with running(LIMITED) as pipeline:
        for batch in hourly(60).batches():
            score(pipeline, batch)
            labels_of(pipeline, batch)
        out = pipeline.take()
    made = np.concatenate([one.decision for one in out.scores])
    shadow = np.concatenate([one.shadow_decision for one in out.scores])
    assert np.concatenate([one.decision for one in out.labelled]).tolist() == made.tolist()
    assert np.concatenate([one.shadow_decision for one in out.labelled]).tolist() == shadow.tolist()
    assert set(made.tolist()) == {APPROVE, REVIEW, DECLINE}
