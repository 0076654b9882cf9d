"""The policy `hedge` on small streams: what it answers to what happens, and what it says of it."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from consumer.columns import Labelled, Labels
from consumer.driver import Driver
from consumer.hedge import memory as memory_room
from consumer.hedge.healer import HealRequest
from consumer.mixture import FROZEN
from consumer.outputs import Outputs
from tests.hedging import (
    CLEAN,
    HEDGE,
    NEVER,
    after,
    losses,
    lost,
    novel,
    of_a_sure_change,
    onto_fraud,
    ran,
    said,
    to_and_fro,
    translate,
)
from tests.schemas import conforms
from tests.streams import BATCH, DRIFT, START_MS, STEP_MS, V14, Stream, model, settings, stream


@pytest.mark.parametrize("late_ms", [0, 5 * BATCH * STEP_MS, NEVER])
def test_rows_that_moved_are_healed_with_labels_or_without(late_ms):
    given = after(translate, 2 * CLEAN)

    out = ran(given, late_ms=late_ms)

    healed, frozen = losses(out, given)
    assert healed < 0.45 * frozen
    first = (said(out, "regime-changed")[0]["since_ms"] - START_MS) / STEP_MS
    assert CLEAN - BATCH <= first <= CLEAN
    provisional = [each.provisional for each in out.scores]
    if late_ms == NEVER:
        assert provisional[-1]
        assert said(out, "heal-deployed") == []
    else:
        assert not provisional[-1]
        assert len(said(out, "heal-deployed")) > 3


def test_a_new_kind_of_fraud_is_learnt_from_its_labels():
    given = after(novel, 2 * CLEAN)

    healed, frozen = losses(ran(given), given)

    assert healed < 0.5 * frozen


def test_where_the_signal_is_gone_scores_are_calibrated_and_it_is_said():
    given = after(lost, 3 * CLEAN)

    out = ran(given)

    assert len(said(out, "signal-lost")) == 1
    healed, frozen = losses(out, given, start=3 * CLEAN)
    share = given.labels.is_fraud[3 * CLEAN :].mean()
    entropy = -(share * np.log(share) + (1 - share) * np.log(1 - share))
    assert healed < entropy + 0.05 < frozen


def test_on_a_stream_that_does_not_change_it_does_no_harm():
    given = after(lambda x, fraud: None, 2 * CLEAN)

    out = ran(given)

    healed, frozen = losses(out, given)
    assert healed < frozen + 0.01
    assert said(out, "cannot-heal") == []


def test_where_nothing_has_changed_who_joins_has_to_earn_its_weight():
    out = ran(after(lambda x, fraud: None))

    first, *_ = said(out, "heal-deployed")
    assert first["weights"][FROZEN] > 0.95


def test_labels_that_speak_against_what_was_healed_take_it_back():
    # Labels that are wrong for a while teach what is wrong; then they are right again.
    given = after(onto_fraud, CLEAN, clean=60 * BATCH)
    truth = given.labels.is_fraud
    wrong = truth.copy()
    wrong[10 * BATCH : 20 * BATCH] = 1 - wrong[10 * BATCH : 20 * BATCH]

    out = ran(Stream(given.transactions, replace(given.labels, is_fraud=wrong)))

    assert said(out, "rollback")
    states = [e["to_state"] for e in said(out, "state-changed")]
    assert set(states) == {"HEALTHY", "DRIFTING", "HEALING", "ROLLED_BACK"}
    right = slice(40 * BATCH, 60 * BATCH)
    p = np.concatenate([each.score for each in out.scores])[right]
    assert np.mean((p >= 0.5) == truth[right]) > 0.85


def test_more_heals_than_an_hour_allows_have_to_wait_and_it_is_said_once():
    given = after(novel, CLEAN)

    out = ran(given, {"heal.max_per_hour": 7})

    heals = said(out, "heal-deployed") + said(out, "heal-discarded")
    assert len(heals) == 7
    (told,) = said(out, "heal-postponed")
    assert told["heals"] == 7


def test_a_single_row_far_from_all_of_training_is_no_change():
    given = stream(2 * CLEAN, seed=5)
    x = given.transactions.x.copy()
    x[CLEAN + 7] = 9  # a batch's means move by two standard errors

    out = ran(Stream(replace(given.transactions, x=x), given.labels), late_ms=NEVER)

    assert said(out, "regime-changed") == []


def test_of_a_heal_that_ends_after_the_next_change_only_what_all_rows_taught_counts(monkeypatch):
    begun = after(translate, 2 * CLEAN, clean=0)  # other rows than training's from the first on
    x = begun.transactions.x.copy()
    x[CLEAN:, 0] += 3
    given = Stream(replace(begun.transactions, x=x), begun.labels)
    changed, run = threading.Event(), HealRequest.run

    def late(request, mixture, cancelled):
        assert changed.wait(120)
        return run(request, mixture, cancelled)

    monkeypatch.setattr(HealRequest, "run", late)
    out = []

    def take(found):
        out.extend(found.events)
        if any(e["event"]["action"] == "regime-changed" for e in found.events):
            changed.set()

    with Driver(settings({"heal.policy": "hedge", "heal.mode": "threaded"}), model()) as driver:
        driver.run([(b.transactions, b.labels) for b in given.batches()], take)

    first = next(e["reflexive"] for e in out if e["event"]["action"] == "heal-deployed")
    admitted = {v["expert"] for v in first["gate"] if v["admitted"]}
    assert admitted > {"long_memory"}
    assert admitted & first["weights"].keys() == {"long_memory"}


def test_of_very_many_labels_a_sample_weighs_whatever_the_order_of_partitions():
    def rows(partition, count):
        given = stream(count, seed=2, partition=partition)
        ones = np.ones(count, np.float32)
        return Labelled(
            partition,
            given.transactions.ids,
            given.transactions.event_time,
            given.labels.labelled_at,
            given.labels.is_fraud,
            given.labels.source,
            given.transactions.x,
            ones,
            ones,
            ones,
            given.labels.is_fraud,
            given.labels.is_fraud,
            np.ones(count, np.int64),
            given.transactions.offset,
            ones,
            np.zeros((count, 0), np.uint8),
        )

    sizes = [(0, 1_800), (1, 600)]
    x, y, weight = memory_room.in_order([rows(*each) for each in sizes])
    again, *_ = memory_room.in_order([rows(*each) for each in reversed(sizes)])
    assert len(x) == len(y) == len(weight) == pytest.approx(memory_room.WEIGHED, abs=60)
    np.testing.assert_array_equal(x, again)
    # Every fraud is there: a tenth of a handful would be none.
    assert y.sum() == sum(stream(n, seed=2, partition=p).labels.is_fraud.sum() for p, n in sizes)
    assert np.average(y, weights=weight) == pytest.approx(0.15, abs=0.03)
    few, *_ = memory_room.in_order([rows(0, 300), rows(1, 200)])
    assert len(few) == 500


def test_heals_and_scores_never_pass_through_the_same_network():
    # Its tensors are swapped for an expert's while they pass: scored meanwhile, a row gets those.
    with Driver(settings(HEDGE), model()) as driver:
        healing = driver.pipeline.healing
        theirs, ours = healing._worker._healer.mixture.base._module, healing._mixture.base._module

    assert theirs is not ours
    mine = {each.data_ptr() for each in ours.parameters()}
    assert mine.isdisjoint(each.data_ptr() for each in theirs.parameters())


def test_every_decision_conforms_to_its_schema_and_every_weight_is_a_share():
    _, out = of_a_sure_change()

    for event in out.events:
        conforms("event", event)
    for snapshot in out.snapshots:
        conforms("snapshot-manifest", dict(snapshot.manifest))
    assert len(out.activations) > 3
    for each in out.activations:
        assert sum(each.in_force.weights.values()) == pytest.approx(1)
        assert "frozen" in each.in_force.weights


def test_a_change_that_only_the_loss_shows_may_begin_within_the_newest_batch():
    # Labels at once, but for the first and last rows of each batch.
    given = stream(4_000, seed=5)
    fraud = given.labels.is_fraud.copy()
    fraud[3_000:] = 1 - fraud[3_000:]  # no feature moves
    some = np.flatnonzero((np.arange(4_000) % 100 >= 10) & (np.arange(4_000) % 100 < 90))
    come = Labels(
        0,
        [given.labels.ids[n] for n in some],
        given.labels.labelled_at[some],
        fraud[some],
        ["chargeback"] * len(some),
        np.arange(len(some)),
    )

    out = ran(Stream(given.transactions, come), {"batch.rows": 100})

    (change,) = said(out, "regime-changed")
    assert change["since_ms"] == START_MS + 3_010 * STEP_MS
    assert sum(len(each) for each in out.scores) == 4_000


def test_what_was_said_and_kept_of_weights_stays_when_a_member_leaves():
    given = after(onto_fraud, 2 * CLEAN)
    x = given.transactions.x.copy()
    x[2 * CLEAN :, 0] += 3  # once more, while the base rate is a member
    given = Stream(replace(given.transactions, x=x), given.labels)

    out = ran(given, late_ms=25 * BATCH * STEP_MS)

    told = [e["weights"] for e in said(out, "less-sure")]
    assert told
    assert all(sum(each.values()) == pytest.approx(1) for each in told)


def test_at_most_one_activation_a_batch_and_each_before_its_first_score():
    _, out = of_a_sure_change()

    at = [each.place.offset for each in out.activations]
    assert len(set(at)) == len(at)
    assert all(offset % BATCH == 0 for offset in at)


def test_heals_go_on_when_the_memory_is_full(monkeypatch):
    monkeypatch.setattr(memory_room, "CAPACITY", 200)
    given = stream(60 * BATCH, seed=5)

    out = ran(given)

    at = [e["offset"] for a in ("heal-deployed", "heal-discarded") for e in said(out, a)]
    assert max(at) > 45 * BATCH


def day_and_night(x, fraud):
    """A feature that says nothing is up at night and down by day; fraud stays what it is."""
    x[np.arange(len(x)) // (8 * BATCH) % 2 == 0, 2] += 3.0


def test_a_change_that_harms_nobody_is_withdrawn_and_its_like_no_longer_said():
    given = after(day_and_night, 6 * CLEAN)

    out = ran(given)

    withdrawn = said(out, "change-withdrawn")
    assert withdrawn
    changed = [each["offset"] for each in said(out, "regime-changed")]
    assert max(changed) < 4 * CLEAN
    healed, frozen = losses(out, given)
    assert healed < frozen + 0.01


WIDE = {"batch.rows": 100}  # where fewer rows show a change


def within_a_batch(rows=6_000):
    """Back and forth, each time in the midst of a batch of a hundred."""
    given = stream(rows, seed=5)
    x = given.transactions.x.copy()
    x[1_950:4_030, V14] -= 1.5 * DRIFT
    return Stream(replace(given.transactions, x=x), given.labels)


@pytest.mark.parametrize("late_ms", [0, NEVER])
def test_a_batch_ends_where_a_change_shows_and_the_rest_of_it_is_another(late_ms):
    given = within_a_batch()

    out = ran(given, WIDE, late_ms=late_ms)

    changed, back = said(out, "regime-changed")[-2:]
    assert 1_950 < changed["offset"] < 1_999
    assert abs((changed["since_ms"] - START_MS) // STEP_MS - 1_950) <= 10
    assert 4_030 < back["offset"] < 4_080
    (recognised,) = said(out, "regime-recognised")
    assert recognised["offset"] == back["offset"]
    # What is said of batches is said of whole ones.
    assert {each["rows"] for each in said(out, "batch-monitored")} == {100}
    begun = [each.place.offset for each in out.activations]
    assert back["offset"] + 1 in begun
    cut = {changed["offset"] + 1, back["offset"] + 1}
    assert all(offset % 100 == 0 or offset in cut for offset in begun)


@pytest.mark.parametrize("size", [37, 100, 1_000])
def test_how_rows_come_says_nothing_of_where_a_batch_ends(size):
    given, told = within_a_batch(4_200), []
    for chunk in (len(given), size):
        found = Outputs()
        rows = [given.transactions.rows(at, at + chunk) for at in range(0, len(given), chunk)]
        with Driver(settings(HEDGE | WIDE), model()) as driver:
            driver.run(
                [(each, None) for each in rows], lambda out, to=found: to.events.extend(out.events)
            )
        told.append(found.events)
    assert told[0] == told[1]
    assert any(each["event"]["action"] == "regime-recognised" for each in told[0])


def test_the_published_policy_cuts_no_batch():
    given = within_a_batch()
    out = ran(given, WIDE | {"heal.policy": "paper"})
    assert all(each.place.offset % 100 == 0 for each in out.activations)
    assert len(out.activations) > 1


def test_in_a_regime_that_is_back_nothing_is_lent_and_what_was_learnt_counts():
    given = after(to_and_fro, 3 * CLEAN)

    out = ran(given, late_ms=5 * BATCH * STEP_MS)

    (lent, *more) = [each["offset"] for each in said(out, "heal-provisional")]
    assert CLEAN < lent < 2 * CLEAN
    assert more == []
    assert [each["regime"] for each in said(out, "regime-recognised")] == [0, 1]
    healed, frozen = losses(out, given, start=3 * CLEAN)
    assert healed < frozen / 2


@pytest.mark.parametrize("spacing_ms", [STEP_MS, 0])
def test_times_that_are_late_or_stand_still_make_no_second_change(spacing_ms):
    given = within_a_batch(4_000)
    times = given.transactions.event_time // 10_000 * 10_000 if not spacing_ms else None
    if times is None:
        times = given.transactions.event_time.copy()
        times[1_950] -= 60_000
    given = Stream(replace(given.transactions, event_time=times), given.labels)

    out = ran(given, WIDE, late_ms=NEVER)

    (changed,) = said(out, "regime-changed")
    assert 1_950 < changed["offset"] < 1_999


def test_what_experts_first_learn_of_a_change_counts_at_once():
    def change(x, fraud):
        half = len(x) // 2
        novel(x, fraud)
        x[:half, V14] -= DRIFT
        x[half:, V14] += 3
        x[half:][fraud[half:]] = np.random.default_rng(6).normal(
            [0, 0, -3.5], [1, 1, 0.5], size=(fraud[half:].sum(), 3)
        )

    out = ran(after(change, rows=4 * CLEAN))

    began = next(e["offset"] for e in said(out, "regime-changed") if e["offset"] >= 3 * CLEAN)
    before, first = (
        next(e for e in said(out, "heal-deployed") if e["offset"] >= at)
        for at in (3 * CLEAN - BATCH, began)
    )
    # They were there before; labels had taken the weight of the numbers of then.
    again = {"adapter", "scaling", "residual", "recent", "sparse"}
    assert again <= before["weights"].keys()
    assert sum(first["weights"].get(name, 0.0) for name in again) > 0.3


def test_a_regime_that_a_few_rows_look_like_is_left_again():
    given = stream(4_500, seed=6)
    x = given.transactions.x.copy()
    x[1_500:3_000, V14] -= 1.5 * DRIFT
    x[3_000:, V14] -= 0.3 * DRIFT  # near to where it was
    given = Stream(replace(given.transactions, x=x), given.labels)

    out = ran(given, WIDE, late_ms=NEVER)

    changed = said(out, "regime-changed")
    (recognised,) = said(out, "regime-recognised")
    assert recognised["regime"] == 0
    assert recognised["offset"] < 3_050
    assert [each["regime"] for each in changed] == [1, 2, 3]
    assert "not those of regime 0" in changed[-1]["reasons"][0]
    assert changed[-1]["offset"] < 3_900
    assert changed[-1]["since_ms"] == changed[-2]["since_ms"]
