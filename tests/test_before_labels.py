"""The policy `hedge` while no label of a change has come: what it guesses, and what it doubts."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from consumer.columns import Labelled
from consumer.driver import Driver
from consumer.hedge import doubt
from consumer.hedge.record import Record
from consumer.mixture import FROZEN, Mixture
from tests.hedging import (
    CLEAN,
    HEDGE,
    NEVER,
    after,
    losses,
    of_a_sure_change,
    onto_fraud,
    ran,
    said,
    to_and_fro,
    translate,
)
from tests.streams import BATCH, DRIFT, STEP_MS, V14, Stream, model, settings, stream


def withdrawn(out, why):
    found = [e for e in out.events if e["event"]["action"] == "heal-withdrawn"]
    return [e for e in found if why in e["message"]]


def test_without_labels_of_a_change_that_is_no_move_nothing_is_healed_and_it_is_said_once():
    given = after(onto_fraud, 2 * CLEAN)

    out = ran(given, late_ms=NEVER)

    assert len(said(out, "cannot-heal")) == 1
    # On the first hundred rows it may look like a move, and is taken back with more of them.
    assert len(said(out, "heal-withdrawn")) == len(said(out, "heal-provisional"))
    healed, frozen = losses(out, given, start=2 * CLEAN)
    assert healed == frozen


def test_a_regime_that_comes_back_is_recognised_before_its_labels_come():
    away = after(translate, 2 * CLEAN)
    x = away.transactions.x.copy()
    x[2 * CLEAN :, V14] += DRIFT  # clean again
    given = Stream(replace(away.transactions, x=x), away.labels)

    out = ran(given, late_ms=15 * BATCH * STEP_MS)

    (back,) = said(out, "regime-recognised")
    assert back["regime"] == 0
    assert back["offset"] < 2 * CLEAN + 5 * BATCH
    healed, frozen = losses(out, given, start=2 * CLEAN + 5 * BATCH)
    assert healed < frozen + 0.05


def test_before_labels_of_a_sure_change_come_scores_are_drawn_to_the_base_rate():
    given, out = of_a_sure_change()

    (told,) = said(out, "less-sure")
    assert told["weights"]["base_rate"] == pytest.approx(0.4)
    healed, frozen = losses(out, given)
    assert healed < frozen


def restless(feature):
    """A model whose feature moved all the time in training, so that moving it is no change."""
    found = model()
    unrest = [1e3 if n == feature else 1.0 for n in range(len(found.features))]
    reference = found.manifest.reference.model_copy(update={"unrest": unrest, "outputs": []})
    return replace(found, manifest=found.manifest.model_copy(update={"reference": reference}))


def growing(batches, by):
    """Clean rows, but for a feature that moves by so much at those batches, and between."""
    given = stream(160 * BATCH, seed=5)
    x = given.transactions.x.copy()
    x[:, 2] += np.interp(np.arange(len(x)) / BATCH, batches, by)
    return Stream(replace(given.transactions, x=x), given.labels)


def to_base_rate(out):
    """What weight each batch's scores gave the base rate."""
    found = np.zeros(sum(len(each) for each in out.scores) // BATCH)
    for each in out.activations:
        found[each.place.offset // BATCH :] = each.in_force.weights.get("base_rate", 0.0)
    return found


def test_scores_are_drawn_to_the_base_rate_while_rows_lie_beyond_those_that_have_labels():
    # A feature grows, and its labels are of when it was smaller; then it grows no more.
    given = growing([40, 100], [0, 8])

    out = ran(given, late_ms=15 * BATCH * STEP_MS, of=restless(2))

    assert said(out, "regime-changed") == []
    told, *_ = [e["message"] for e in out.events if e["event"]["action"] == "less-sure"]
    assert "of the newest rows lie beyond nearly all labelled ones: V8" in told
    drawn = to_base_rate(out)
    assert max(drawn[:50]) == 0
    assert min(drawn[90:110]) > 0.05
    assert max(drawn[90:110]) > 0.1
    assert max(drawn[145:]) == 0


def test_rows_that_come_back_to_where_labels_are_need_no_more_of_them(monkeypatch):
    monkeypatch.setattr(doubt, "AFFORDED", 1e9)
    given = growing([40, 100, 101], [0, 8, 0])
    given = Stream(given.transactions, given.labels.rows(0, 60 * BATCH))

    out = ran(given, of=restless(2))

    assert len(withdrawn(out, "of the newest rows lie where labels have come for")) == 1
    drawn = to_base_rate(out)
    assert drawn[100] == pytest.approx(0.4, abs=0.1)
    assert max(drawn[130:]) == 0


def of_other_share(keep):
    """Rows 4,000 and on only where `keep(fraud, at)` says so: another share of them is fraud."""
    given = stream(20_000, seed=5)
    transactions, fraud = given.transactions, given.labels.is_fraud
    at = np.arange(len(fraud))
    kept = np.flatnonzero((at < 4_000) | keep(fraud == 1, at))[:10_000]
    times, offsets = transactions.event_time[: len(kept)], transactions.offset[: len(kept)]
    ids, x = [transactions.ids[n] for n in kept], transactions.x[kept]
    return Stream(
        replace(transactions, ids=ids, x=x, event_time=times, offset=offsets),
        replace(given.labels, is_fraud=fraud[kept]),
    )


def test_a_share_of_fraud_that_rises_is_followed_without_a_label():
    given = of_other_share(lambda fraud, at: fraud | (at % 3 == 0))

    out = ran(given, {"batch.rows": 100}, late_ms=NEVER)

    assert any("odds of fraud" in told["reasons"][0] for told in said(out, "heal-provisional"))
    healed, frozen = losses(out, given, start=6_000)
    assert healed < frozen


def test_fraud_that_seems_rarer_without_a_label_may_only_look_different():
    given = of_other_share(lambda fraud, at: ~fraud | (at % 5 == 0))

    out = ran(given, {"batch.rows": 100}, late_ms=NEVER)

    assert said(out, "regime-changed")
    told = [each["weights"] for each in said(out, "heal-provisional")]
    assert all(each.get("prevalence", 0.0) < 0.02 for each in told)


@pytest.mark.parametrize("rows", [10, 50])
def test_a_guess_is_lent_once_and_then_labels_decide(rows):
    out = ran(after(translate), {"batch.rows": rows})

    lent = [each["offset"] for each in said(out, "heal-provisional")]
    changed = [each["offset"] for each in said(out, "regime-changed")]
    assert lent
    assert len(lent) <= len(changed)


def test_guesses_that_labels_spoke_against_count_no_more_before_labels():
    # Rows truly are other rows, to and fro, and fraud is where it was.
    given = stream(110 * BATCH, seed=5)
    x = given.transactions.x.copy()
    x[30 * BATCH : 57 * BATCH, V14] += 2.2
    x[57 * BATCH : 84 * BATCH, V14] -= 1.8
    x[84 * BATCH :, V14] += 2.2
    likely = 1 / (1 + np.exp(3 * x[:, V14].astype(np.float64) + 3))
    y = (np.random.default_rng(2).random(len(x)) < likely).astype(np.int8)
    given = Stream(
        replace(given.transactions, x=x),
        replace(given.labels, is_fraud=y),
    )

    out = ran(given, late_ms=30 * BATCH * STEP_MS)

    (provisional,) = said(out, "heal-provisional")
    (gone,) = withdrawn(out, "labels have spoken against guesses like it")
    # Labels of the first rows that it scored came 30 batches after them.
    first = provisional["offset"] + 30 * BATCH
    last = gone["reflexive"]["offset"]
    assert first < last < 84 * BATCH
    assert out.scores[-1].provisional is False
    (told,) = said(out, "cannot-heal")
    assert last <= told["offset"] < last + 4 * BATCH
    # Nor does the one that counted when a regime was left, once that is back.
    (back,) = said(out, "regime-recognised")
    assert back["weights"]["alignment"] < 0.1


def test_a_regime_that_is_back_is_not_doubted_because_it_was_when_it_came_first():
    def to_and_back(x, fraud):
        for part in (slice(12 * BATCH), slice(30 * BATCH, None)):
            x[part, V14] = np.where(fraud[part], x[part, V14], x[part, V14] / 2 + 1.5)
            x[part, 2] *= 2

    given = after(to_and_back, 50 * BATCH)
    given = Stream(given.transactions, given.labels.rows(0, CLEAN))  # none of the change

    out = ran(given)

    assert said(out, "less-sure")[0]["offset"] < 40 * BATCH
    assert [e["regime"] for e in said(out, "regime-recognised")] == [0, 1]
    drawn = to_base_rate(out)
    assert max(drawn[:40]) == pytest.approx(0.4, abs=0.01)
    assert max(drawn[45:]) < 0.1


def away_from_fraud(x, fraud):
    """Legitimate rows lie further and further from where fraud is: who is sure is right."""
    for n in range(3):
        part = slice(45 * n * BATCH, 45 * (n + 1) * BATCH)
        x[part, V14] = np.where(fraud[part], x[part, V14], x[part, V14] / 2 + 1.5 * (n + 1))
        x[part, 2] *= n + 1


def test_where_labels_say_that_scores_were_right_to_be_sure_the_next_change_waits_for_them(
    monkeypatch,
):
    monkeypatch.setattr(doubt, "AFFORDED", 1e9)
    given = after(away_from_fraud, 130 * BATCH)

    out = ran(given, late_ms=25 * BATCH * STEP_MS)

    assert len(said(out, "regime-changed")) > 3
    (told,) = said(out, "less-sure")
    labelled = told["offset"] + 25 * BATCH
    drawn = to_base_rate(out)
    assert max(drawn[: labelled // BATCH]) == pytest.approx(0.4)
    assert max(drawn[labelled // BATCH :]) == 0


def test_what_doubt_may_cost_before_labels_come_is_bounded(monkeypatch):
    given = after(away_from_fraud, 130 * BATCH)
    given = Stream(given.transactions, given.labels.rows(0, CLEAN))  # none of the change

    out = ran(given)

    (told,) = said(out, "less-sure")
    began = told["offset"] // BATCH + 1
    (gone,) = withdrawn(out, "it has cost what it may before labels come")
    drawn = to_base_rate(out)[began:]
    lasted = int((drawn > 0).sum())
    assert gone["reflexive"]["offset"] // BATCH + 1 == began + lasted
    assert drawn[:lasted] == pytest.approx(0.4, abs=0.005)
    assert max(drawn[lasted:]) == 0
    # Nats that rows lose where the frozen model is right; it had most of the weight.
    p = np.concatenate([each.shadow for each in out.scores]).astype(np.float64)
    p = np.clip(p[began * BATCH :][: lasted * BATCH], 0.001, 0.999)
    mixed = 0.6 * p + 0.4 * 0.15
    lost = p * np.log(p / mixed) + (1 - p) * np.log((1 - p) / (1 - mixed))
    assert lost.sum() == pytest.approx(doubt.AFFORDED, rel=0.3)
    # It ends with the batch that spends it.
    assert lost[:-BATCH].sum() < 1.1 * doubt.AFFORDED

    # But of many rows it may be more.
    monkeypatch.setattr(doubt, "AFFORDED_A_ROW", 1.0)
    assert (to_base_rate(ran(given)) > 0).sum() > 2 * lasted


@pytest.mark.parametrize(("unrest", "is_undone"), [(1.2, True), (1.5, False)])
def test_a_feature_that_moved_while_the_model_was_trained_is_not_moved_back(unrest, is_undone):
    of = model()
    reference = of.manifest.reference.model_copy(update={"unrest": [1.0, unrest, 1.0]})
    of = replace(of, manifest=of.manifest.model_copy(update={"reference": reference}))

    out = ran(after(translate), late_ms=NEVER, of=of)

    assert said(out, "regime-changed")
    assert bool(said(out, "heal-provisional")) is is_undone
    assert bool(said(out, "cannot-heal")) is not is_undone


def test_labels_of_rows_that_were_not_drawn_say_nothing_of_drawing():
    mixture = Mixture(model())
    mind = SimpleNamespace(doubts=Record())
    doubts = doubt.Doubt(mind, mixture, [], None, None)
    mind.doubts.note(0, 0.4)
    given = stream(20)
    shadow = np.full(20, 0.5, np.float32)
    rows = Labelled(
        0,
        given.transactions.ids,
        given.transactions.event_time,
        given.labels.labelled_at,
        np.zeros(20, np.int8),
        given.labels.source,
        given.transactions.x,
        # Drawn, no score is above .4 of the base rate and all of the rest.
        np.full(20, 0.95, np.float32),
        shadow,
        np.full(20, 0.5),
        np.zeros(20, np.int8),
        np.zeros(20, np.int8),
        given.transactions.offset,
        given.labels.offset,
        np.ones(20),
        np.zeros((20, 0), np.uint8),
    )

    doubts.judge([replace(rows, is_fraud=np.ones(20, np.int8))])
    assert mind.doubts.nats == 0.0
    doubts.judge([replace(rows, score=np.full(20, 0.06, np.float32))])
    assert mind.doubts.nats < -0.5


def moved_twice(x, fraud):
    """Moved, back, moved again, and then it spreads as well: it has not only moved any more."""
    part = np.arange(len(x)) // CLEAN
    x[part != 1, V14] -= DRIFT
    x[part == 3, V14] = (x[part == 3, V14] + DRIFT) * 2.2 - DRIFT


def test_a_guess_that_is_back_with_its_regime_is_a_guess_still_and_may_be_withdrawn():
    out = ran(after(moved_twice, 4 * CLEAN), late_ms=NEVER)

    assert 1 in [told["regime"] for told in said(out, "regime-recognised")]
    # No label has ever come: who is not scored by the frozen model is scored by a guess.
    for each in out.scores:
        assert each.provisional == bool((each.score != each.shadow).any())
    (gone,) = said(out, "heal-withdrawn")
    assert gone["offset"] > 4 * CLEAN
    assert set(out.activations[-1].in_force.weights) == {FROZEN}


def test_a_guess_that_was_withdrawn_in_a_regime_that_is_back_may_be_made_again():
    given = after(to_and_fro, 3 * CLEAN)
    late = given.labels.labelled_at + NEVER
    given = Stream(given.transactions, replace(given.labels, labelled_at=late))
    events = []

    def take(out):
        found = said(out, "regime-recognised")
        if found and found[-1]["regime"] == 1:  # some rows did not fit
            driver.pipeline.healing._mind.pool.take_back()
        events.extend(out.events)

    with Driver(settings(HEDGE), model()) as driver:
        driver.run([(batch.transactions, batch.labels) for batch in given.batches()], take)

    lent = [e["reflexive"] for e in events if e["event"]["action"] == "heal-provisional"]
    assert len(lent) == 2
    assert lent[1]["offset"] > 3 * CLEAN
