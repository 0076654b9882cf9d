"""What the policy `hedge` is made of: weights, pool, detectors, memory, gate, regimes."""

import math

import numpy as np
import orjson
import pytest
import torch

from consumer.columns import Labelled
from consumer.experts.base import Learning
from consumer.hedge import gate, judge, weights
from consumer.hedge import memory as memory_room
from consumer.hedge.change import FeatureChange, LossChange, unrest
from consumer.hedge.healer import STRAYS, Healer, HealRequest
from consumer.hedge.memory import Memory, eighth
from consumer.hedge.pool import Pool
from consumer.hedge.regimes import Known, Regimes
from consumer.mixture import FROZEN, Mixture, flat
from consumer.registry import InForce, Registry
from consumer.segments import Segments
from tests.streams import (
    DRIFT,
    eighths,
    model,
    settings,
    stream,
)


def test_weights_go_to_who_was_right_and_everyone_keeps_a_share():
    gain, shares = np.array([-900.0, -5.0, -900.0]), np.array([0.02, 0.01, 0.01])
    found = weights.follow(np.array([0.5, 0.25, 0.25]), gain, shares)

    assert found.sum() == pytest.approx(1)
    assert found.tolist() == pytest.approx([0.02, 0.96 + 0.01, 0.01])


def rows_of_three(right, rows=50):
    """What the frozen model and two experts say of rows, one of them right each time."""
    p = np.full((3, rows), 0.4)
    p[right] = 0.6
    return p, np.ones(rows), np.ones(rows)


def pool_of_three():
    pool = Pool()
    pool.put("adapter", {})
    pool.put("scaling", {})
    pool.admit({"adapter": 0.0, "scaling": 0.0}, changed=True)
    return pool


def test_how_fast_weights_move_on_is_learnt_from_the_stream():
    calm, restless = pool_of_three(), pool_of_three()
    for batch in range(400):
        calm.follow(*rows_of_three(1), changed=True)
        restless.follow(*rows_of_three(1 + (batch // 10) % 2), changed=True)

    # Where one was right all along, the other has next to nothing; where they take turns, more.
    assert 10 * calm.earned["scaling"] < restless.earned["adapter"]
    # And yet one batch tells when it is the other's turn.
    calm.follow(*rows_of_three(2), changed=True)
    assert calm.earned["scaling"] > 0.9


def test_the_way_back_to_the_frozen_model_stays_short():
    calm = pool_of_three()
    for _ in range(4_000):
        calm.follow(*rows_of_three(1), changed=True)

    assert calm.earned[FROZEN] > 5 * calm.earned["scaling"]
    # A few rows that speak for it are enough.
    calm.follow(*rows_of_three(0, rows=20), changed=True)
    assert calm.earned[FROZEN] > 0.5


def test_who_joins_gets_what_the_evidence_gives_and_all_who_join_no_more_than_an_equal_share():
    pool = Pool()
    base = Registry("m", "b").snapshot("base", {}, parent=None, reason="")
    pool.take(InForce(base, {FROZEN: 0.3, "adapter": 0.7}))

    pool.admit({"trees": 0.0, "scaling": 40.0, "alignment": -math.inf}, changed=True)

    found = pool.earned
    assert sum(found.values()) == pytest.approx(1)
    assert found["scaling"] == pytest.approx(1 / 5)
    assert found["trees"] == pytest.approx(0.1)  # of three, a third of the frozen model's
    assert found["alignment"] == pytest.approx(0.02 / 5)
    assert found[FROZEN] / found["adapter"] == pytest.approx(3 / 7)


def test_who_has_next_to_no_weight_is_not_asked_and_comes_back_when_it_has_more():
    pool = Pool()
    base = Registry("m", "b").snapshot("base", {}, parent=None, reason="")
    pool.take(InForce(base, {FROZEN: 0.001, "adapter": 0.995, "scaling": 0.004}))

    assert set(pool.counting) == {FROZEN, "adapter"}
    assert sum(pool.counting.values()) == pytest.approx(1)
    assert set(pool.weights) == {FROZEN, "adapter", "scaling"}
    assert not pool.has_moved(pool.counting)
    counting = pool.counting
    pool.follow(*rows_of_three(2, rows=10), changed=True)
    assert "scaling" in pool.counting
    assert pool.has_moved(counting)


def test_who_learns_from_every_regime_keeps_its_numbers_where_an_earlier_one_is_back():
    then = {name: {"a": torch.zeros(1)} for name in ("adapter", "long_memory")}
    base = Registry("m", "b").snapshot("pool", flat(then), parent=None, reason="")
    pool = Pool()
    for name in then:
        pool.put(name, {"a": torch.ones(1)})

    pool.take(InForce(base, {FROZEN: 0.2, "adapter": 0.3, "long_memory": 0.5}), ["long_memory"])

    assert pool.states["adapter"]["a"].item() == 0
    assert pool.states["long_memory"]["a"].item() == 1
    assert pool.is_new  # a snapshot has yet to hold them
    assert pool.earned["long_memory"] == pytest.approx(0.5)
    pool.take(InForce(base, {FROZEN: 0.2, "adapter": 0.8}), ["long_memory"])
    assert not pool.is_new


def test_few_rows_are_enough_only_where_something_has_changed():
    y = np.zeros(30, np.float32)
    y[:3] = 1

    assert not gate.enough(y, changed=True)
    assert "60 are needed" in gate.enough(y, changed=False)
    assert "1 of 30" in gate.enough(np.eye(30, dtype=np.float32)[0], changed=True)
    assert not gate.enough(np.tile(y, 2), changed=False)


def test_a_feature_that_moves_is_named_when_it_does_and_never_by_chance():
    rng = np.random.default_rng(6)
    watch = FeatureChange(["a", "b"], [1.0, 2.0])
    scale = np.array([1.0, 2.0])

    def batch(move=0.0):
        return (rng.normal(size=(100, 2)) * scale + [0, move]).mean(axis=0)

    assert [watch.add(batch(), 100) for _ in range(500)] == [None] * 500
    change = watch.add(batch(2.0), 100)
    assert change is not None
    assert change.batches == 1
    assert [why.split()[2] for why in change.why] == ["b"]


@pytest.mark.parametrize("batches", [0, 1, 7])
def test_a_restart_goes_on_watching_where_it_was(batches):
    rng = np.random.default_rng(3)
    means, rows = rng.normal(size=(batches + 3, 2)), np.array([5_000.0, 1_000.0])
    alone, before = FeatureChange(["a", "b"], [1.0, 2.0]), FeatureChange(["a", "b"], [1.0, 2.0])
    for mean in means[:batches]:
        alone.add(mean, rows)
        before.add(mean, rows)

    after = FeatureChange(["a", "b"], [1.0, 2.0])
    after.load(orjson.loads(orjson.dumps(before.state())))

    for mean in means[batches:]:
        assert after.add(mean, rows) == alone.add(mean, rows)
    assert after.state() == alone.state()


def test_what_training_saw_every_day_is_no_change():
    rng = np.random.default_rng(8)
    night = (np.arange(12_000) // 600) % 2

    def rows(count, move=0.0):
        x = rng.normal(size=(count, 2)).astype(np.float32)
        x[:, 0] += 2 * night[:count]
        x[:, 1] += move
        return x

    training = rows(12_000)
    sd = training.std(axis=0).astype(np.float64)
    restless = unrest(training, sd)
    assert restless[0] > 2
    assert restless[1] < 1.5

    watch = FeatureChange(["night", "calm"], sd.tolist(), restless)
    days = rows(12_000)
    for start in range(0, 12_000, 100):
        assert watch.add(days[start : start + 100].mean(axis=0), 100) is None
    change = watch.add(rows(100, move=1.0).mean(axis=0), 100)
    assert change is not None
    assert [why.split()[2] for why in change.why] == ["calm"]


def test_a_loss_that_rises_is_a_change_and_one_that_falls_is_none():
    for last, expected in ((0.9, True), (0.05, False)):
        watch = LossChange()
        rng = np.random.default_rng(7)
        found = [watch.add(float(0.3 + 0.03 * rng.normal())) for _ in range(30)]
        assert not any(found)
        assert (watch.add(last) is not None) == expected


def rows_at(offsets, partition=0, label=0):
    offset = np.asarray(offsets, np.int64)
    ones = np.ones(len(offset))
    ids = [f"{partition}-{n}" for n in offset.tolist()]
    return Labelled(
        partition,
        ids,
        offset * 10,
        offset * 10,
        np.full(len(offset), label, np.int8),
        ids,
        ones[:, None].astype(np.float32) * offset[:, None],
        ones.astype(np.float32),
        ones.astype(np.float32),
        ones,
        ones.astype(np.int8),
        ones.astype(np.int8),
        offset,
        offset,
        ones,
        np.zeros((len(offset), 0), np.uint8),
    )


def test_memory_gives_rows_of_a_span_in_one_order_however_they_came():
    pieces = [rows_at([3, 1]), rows_at([2, 9], partition=1), rows_at([7])]
    one, other = Memory(), Memory()
    for piece in pieces:
        one.add(piece)
    for piece in reversed(pieces):
        other.add(piece)

    for memory in (one, other):
        found = memory.learning([(0, 25), (60, 95)])
        assert found.x[:, 0].tolist() == [1, 2, 7, 9]
        assert memory.count_in([(0, 25)]) == 2
        assert memory.learning([(100, 200)]) is None


def test_the_newest_labelled_row_is_the_newest_however_labels_came():
    memory = Memory()
    memory.add(rows_at([50, 60]))
    newest = memory.newest_ms
    memory.add(rows_at([1, 2]))
    assert memory.newest_ms == newest


def test_memory_learns_a_corrected_label_and_forgets_a_partition():
    memory = Memory()
    memory.add(rows_at([1, 2, 3]))
    memory.correct(rows_at([2, 8], label=1))

    assert memory.learning([(0, 100)]).y.tolist() == [0, 1, 0]
    memory.drop(0)
    assert memory.learning([(0, 100)]) is None


def test_of_very_many_rows_every_fraud_is_learnt_and_the_others_stand_for_more(monkeypatch):
    monkeypatch.setattr(memory_room, "LEARNT", 500)
    memory = Memory()
    memory.add(rows_at(range(3_600)))
    memory.add(rows_at(range(3_600, 4_000), label=1))

    found = memory.learning([(0, 1_000_000)])

    assert found.y.sum() == 400
    assert 60 <= (found.y == 0).sum() <= 140
    share = found.weight[found.y == 1].sum() / found.weight.sum()
    assert share == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize("period", [1, 2, 4, 64])
def test_rows_are_spread_over_eighths_whatever_the_period_of_the_stream(period):
    offsets = np.arange(0, 20_000 * period, period, dtype=np.int64)

    assert np.bincount(eighth(offsets)) / 20_000 == pytest.approx(np.full(8, 0.125), abs=0.01)


def test_the_gate_asks_for_more_than_noise_or_for_no_worse_than_noise():
    y = np.tile(np.array([1, 0, 1, 0, 0, 0, 0, 0, 0, 0], np.float32), 100)
    one, in_force = np.ones(1_000, np.float32), np.full(1_000, -2.0, np.float32)
    # Half of the frauds are seen better, the other half almost as much worse.
    slightly = in_force + np.tile(np.float32([0.5, 0, -0.45, 0, 0, 0, 0, 0, 0, 0]), 100)

    noise = gate.judge("e", slightly, in_force, y, one)
    assert 0 < noise.gain < noise.error
    assert not noise.admitted
    assert gate.judge("e", slightly, in_force, y, one, gate.MARGIN_SE_TO_GROW).admitted
    assert gate.judge("e", in_force, slightly, y, one, gate.MARGIN_SE_TO_GROW).admitted
    much_worse = gate.judge("e", in_force, in_force + y, y, one, gate.MARGIN_SE_TO_GROW)
    assert not much_worse.admitted
    assert much_worse.reason == "worse than its last"
    much = gate.judge("e", in_force + y, in_force, y, one)
    assert much.admitted
    assert much.gain > much.error


NONE = np.empty((0, 0), np.float32)  # no rows without labels


def healer(mixture):
    return Healer(mixture, Segments(settings().segments, model().features), model().trained)


def of_drift(rows=800):
    """What a heal learns from, of a stream whose legitimate rows have moved."""
    given = stream(rows, drift=DRIFT, seed=5)
    y, one = given.labels.is_fraud.astype(np.float32), np.ones(rows, np.float32)
    return Learning(given.transactions.x, y, one, eighths(rows), np.zeros((rows, 0), np.uint8))


def test_who_sees_fraud_in_the_newest_rows_that_labels_do_not_bear_out_is_refused():
    rows = of_drift()
    # Fraud has moved to V3, where the frozen model does not look.
    rows.x[rows.y == 1, 0] -= 4
    rows.x[rows.y == 1, 1] += 2
    heals = healer(Mixture(model()))
    some, most = rows.x[::2], np.concatenate([rows.x[rows.y == 1], rows.x[rows.y == 0][:20]])

    calm, wild = (
        heals.heal(HealRequest({"regime": rows}, {FROZEN: {}}, 1, newest), lambda: False)
        for newest in (some, most)
    )

    find_it = {"residual", "recent", "sparse", "trees"}
    assert find_it < calm.states.keys()
    assert not any(each.reason.startswith(STRAYS) for each in calm.verdicts)
    assert wild.states.keys() == calm.states.keys() - find_it
    (trees,) = (each for each in wild.verdicts if each.expert == "trees")
    assert trees.reason.startswith("strays: takes 81")
    assert "of the newest rows for fraud, 1" in trees.reason
    assert trees.reason in wild.refused


def test_it_takes_more_than_noise_to_stray():
    def seen(share, rows):
        return gate.Seen(share, share / math.sqrt(rows))

    few, many = seen(0.02, 9), seen(0.02, 900)
    assert gate.strays(many, seen(0.1, 100), many, many)
    assert not gate.strays(few, seen(0.1, 100), many, many)
    assert not gate.strays(many, seen(0.1, 2), many, many)
    assert not gate.strays(many, seen(0.05, 9_000), many, many)  # by less than three times
    assert not gate.strays(many, seen(0.1, 100), many, seen(0.04, 900))  # as the frozen model


def test_what_learns_from_all_that_is_remembered_once_admitted_may_grow_by_less_than_noise():
    mixture, rows = Mixture(model()), of_drift(1_500)
    heals = healer(mixture)
    pool, verdicts = {FROZEN: {}}, []
    for count in range(300, 1_500, 100):
        some = rows.only(np.arange(1_500) < count)
        heal = heals.heal(HealRequest({"regime": some, "all": some}, pool, 1, NONE), lambda: False)
        verdicts.append({each.expert: each for each in heal.verdicts})
        pool = {**pool, **heal.states}

    assert verdicts[0]["long_memory"].gain > verdicts[0]["long_memory"].error
    for name in ("long_memory", "tuned"):
        noise = [v[name] for v in verdicts[1:] if abs(v[name].gain) < v[name].error]
        assert noise
        assert all(each.admitted == (name == "long_memory") for each in noise)


def test_a_committee_is_judged_by_its_members_against_what_they_were():
    mixture, rows = Mixture(model()), of_drift()
    heals = healer(mixture)
    expert = mixture.experts["long_memory"]
    start = expert.fit(mixture.base, expert.cold(mixture.base), rows, 1).state

    heal = heals.heal(
        HealRequest({"all": rows}, {FROZEN: {}, expert.name: start}, 2, NONE), lambda: False
    )

    fitted = expert.fit(mixture.base, start, rows, 2)
    labels, weight = rows.y[fitted.judged], rows.weight[fitted.judged]
    margin = gate.MARGIN_SE_TO_GROW
    (verdict,) = heal.verdicts
    assert verdict == gate.judge(expert.name, fitted.logit, fitted.before, labels, weight, margin)


def left_behind(regimes):
    """The present regime is kept, with rows that show it."""
    snapshot = Registry("m", "b").snapshot("base", {}, parent=None, reason="")
    sample = np.random.default_rng(1).normal(size=(500, 2)).astype(np.float32)
    regimes.leave(Known(sample, InForce(snapshot, {"frozen": 1.0})))
    return sample


def test_rows_belong_to_the_regime_of_their_time_whenever_their_labels_come():
    regimes = Regimes()
    regimes.change(1_000, {})
    sample = left_behind(regimes)
    regimes.change(2_000, {})

    assert regimes.of(np.array([500, 1_500, 2_500])).tolist() == [0, 1, 2]
    found = regimes.recognise(sample[:200], with_left=True)
    assert found is not None
    assert found[0] == 1
    assert regimes.recognise(sample[:200], with_left=False) is None  # the one just left
    regimes.back(1)
    assert regimes.of(np.array([500, 1_500, 2_500])).tolist() == [0, 1, 1]
    assert regimes.spans() == [(1_000, 2_000), (2_000, float("inf"))]


def test_a_change_that_labels_do_not_confirm_makes_one_regime_of_two():
    regimes = Regimes()
    for start_ms in (1_000, 2_000, 3_000):
        regimes.change(start_ms, {})
    first, second, third = (span for span, *_ in regimes.open_changes())

    regimes.confirm(first)
    assert regimes.merge(third) == 3
    assert regimes.now == 2
    assert regimes.spans() == [(2_000, 3_000), (3_000, float("inf"))]
    assert regimes.are_other(np.array([0, 1, 2])).tolist() == [False, False, False]
    assert regimes.merge(second) == 2
    assert regimes.now == 1
    assert regimes.are_other(np.array([0, 1])).tolist() == [True, False]

    again = Regimes()
    again.load(orjson.loads(orjson.dumps(regimes.state())), {}, {})
    assert again.spans() == regimes.spans()
    assert again.are_other(np.array([0, 1])).tolist() == [True, False]


def losses_of(mean, rows=400, seed=1):
    """Losses of the frozen model and the mixture, and weights."""
    drawn = np.random.default_rng(seed).exponential(mean, (2, rows))
    return np.concatenate([drawn, np.ones((1, rows))])


@pytest.mark.parametrize(
    ("after", "ended", "expected"),
    [
        (losses_of(0.3, seed=2), False, True),
        (losses_of(0.9, seed=2), False, False),
        (losses_of(0.1, seed=2), False, False),  # the frozen model is right again: a change too
        (losses_of(0.36, rows=110, seed=2), False, None),
        (losses_of(0.36, rows=110, seed=2), True, True),
        (losses_of(0.9, rows=20, seed=2), False, None),
    ],
)
def test_labels_judge_a_change_by_what_the_frozen_model_still_knows(after, ended, expected):
    assert judge.harmless(losses_of(0.3), after, ended=ended) is expected


def test_of_a_skewed_feature_rare_values_in_one_batch_are_no_change():
    rng = np.random.default_rng(8)

    def alarms(skewness):
        watch = FeatureChange(["a"], [0.1**0.5], skewness=skewness)
        found = 0
        for _ in range(2_000):
            # One in a hundred: 3.2 sd off, and now and then several in a batch.
            mean = np.array([(rng.random(100) < 0.01).mean() * 3.2])
            if watch.add(mean, 100) is not None:
                found += 1
                watch.cut(1)
        return found

    assert alarms([9.8]) == 0 < alarms([])


def test_a_part_of_a_batch_weighs_its_share():
    rng = np.random.default_rng(6)
    parted, whole = (FeatureChange(["a"], [1.0]) for _ in range(2))
    for watch in (parted, whole):
        assert watch.add(np.array([0.1]), 100) is None
    for _ in range(500):
        x = rng.normal(size=(100, 1))
        cut = int(rng.integers(5, 40))
        found = [parted.add(part.mean(axis=0), len(part), part=True) for part in (x[:cut], x[cut:])]
        assert [*found, whole.add(x.mean(axis=0), 100)] == [None] * 3

    # 1.5 times the root of 20: as of no more rows.
    assert dict(_newest(parted)) == pytest.approx(dict(_newest(whole)), abs=0.02)
    assert dict(_newest(whole))[1] == pytest.approx(1.5 * 20**0.5, abs=0.1)


def _newest(watch):
    return [(n, z[0]) for n, z, _ in watch.compare(np.array([1.5]), 20, part=True) if n == 1]
