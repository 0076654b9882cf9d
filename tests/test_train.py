"""Training: which epoch is kept, what calibration does, what is refused."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

from consumer import metrics, states, train
from consumer.errors import DataError
from consumer.model import SelfHealingMLP
from consumer.model_directory import one_thread
from consumer.rows import Rows
from tests.streams import FEATURES, stream


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    one_thread()


def labelled(rows, seed=5, flipped=0.0):
    """Clean rows; a share of the labels is flipped."""
    made = stream(rows, seed=seed)
    flip = np.random.default_rng([1, seed]).random(rows) < flipped
    label = np.where(flip, 1 - made.labels.is_fraud, made.labels.is_fraud)
    return Rows(tuple(FEATURES), made.transactions.x, label.astype(np.float32))


def quiet(*_):
    pass


def weights(module):
    return states.to_bytes(module.state_dict())


def test_training_stops_ten_epochs_after_the_best_and_keeps_that():
    rows = labelled(600, flipped=0.2)  # noise to overfit
    told = []

    module, how = train.train(rows, 42, lambda *said: told.append(said))

    losses = [loss for _, _, loss in told]
    best = int(np.argmin(losses)) + 1
    assert (how["epochs"], how["best_epoch"]) == (len(told), best)
    assert 1 < best < len(told) == best + train.PATIENCE < train.MAX_EPOCHS
    module.calibrate.slope.fill_(1)
    module.calibrate.bias.fill_(0)
    stop = slice(480, None, 2)  # of the newest fifth the even rows
    with torch.no_grad():
        p = module(torch.from_numpy(rows.x[stop]))
    kept = F.binary_cross_entropy(p, torch.from_numpy(rows.label[stop])).item()
    assert kept == pytest.approx(min(losses))


def test_the_newest_fifth_is_held_out():
    rows = labelled(1000, seed=7)
    changed = Rows(rows.features, rows.x.copy(), rows.label)
    changed.x[801::2] += 0.5  # rows that neither train nor stop: they calibrate and judge

    (one, how), (other, how_other) = (train.train(r, 42, quiet) for r in (rows, changed))

    assert one.standardise.mean.numpy() == pytest.approx(rows.x[:800].mean(axis=0), abs=1e-6)
    assert states.to_bytes(one.backbone.state_dict()) == states.to_bytes(
        other.backbone.state_dict()
    )
    assert one.calibrate.slope != other.calibrate.slope
    assert how["holdout"] != how_other["holdout"]
    assert how["holdout"]["rows"] == 100


def test_a_trained_model_is_good_on_rows_it_never_saw():
    module, _ = train.train(labelled(1000), 42, quiet)

    fresh = labelled(1000, seed=6)
    found = train.figures(module, fresh)
    prior = metrics.log_loss(np.full(1000, 0.15), fresh.label)
    assert found["log_loss"] < 0.6 * prior
    assert found["accuracy"] > 0.9
    assert not module.training


@pytest.mark.parametrize("recipe", [train.train, train.train_paper])
def test_a_seed_decides_every_weight(recipe):
    rows = labelled(300)

    one, same, other = (recipe(rows, seed, quiet)[0] for seed in (1, 1, 2))

    assert weights(one) == weights(same) != weights(other)


def overconfident(times=1.25):
    """A trained model whose logits are so many times too large."""
    module, _ = train.train_paper(labelled(500), 42, quiet)
    module.requires_grad_(False)
    module.head.weight.mul_(times)
    module.head.bias.mul_(times)
    return module


def log_loss(module, rows):
    return train.figures(module, rows)["log_loss"]


def test_calibration_takes_back_too_much_confidence():
    module, fit, fresh = overconfident(), labelled(600, seed=8), labelled(2000, seed=9)
    before = copy.deepcopy(module)

    done = train._calibrate(module, torch.from_numpy(fit.x), torch.from_numpy(fit.label))

    assert done
    assert 0.5 < module.calibrate.slope < 0.9
    assert log_loss(module, fresh) < 0.95 * log_loss(before, fresh)
    ranked = [train.figures(m, fresh)["average_precision"] for m in (module, before)]
    assert ranked[0] == pytest.approx(ranked[1], abs=1e-3)  # the order of rows stays


def test_calibration_finds_the_minimum():
    module, fit = overconfident(), labelled(600, seed=8)
    train._calibrate(module, torch.from_numpy(fit.x), torch.from_numpy(fit.label))
    least = log_loss(module, fit)

    for name in ("slope", "bias"):
        for step in (-0.1, 0.1):
            moved = copy.deepcopy(module)
            getattr(moved.calibrate, name).add_(step)
            assert log_loss(moved, fit) > least


@pytest.mark.parametrize("positives", [9, 10])
def test_too_few_frauds_calibrate_nothing(positives):
    module, fit = overconfident(), labelled(600, seed=8)
    label = fit.label.copy()
    label[np.flatnonzero(label)[positives:]] = 0
    before = weights(module)

    done = train._calibrate(module, torch.from_numpy(fit.x), torch.from_numpy(label))

    assert done == (positives == 10)
    assert (weights(module) == before) != done


def test_a_model_that_ranks_backwards_is_not_turned_round():
    module, fit = overconfident(), labelled(600, seed=8)
    module.head.weight.neg_()
    before = weights(module)

    assert not train._calibrate(module, torch.from_numpy(fit.x), torch.from_numpy(fit.label))
    assert weights(module) == before


@pytest.mark.parametrize(
    ("keep", "part"),
    [(slice(0, 0), "training"), (slice(0, 160), "holdout"), (slice(160, None), "training")],
)
def test_one_class_is_refused_by_the_part_that_lacks_the_other(keep, part):
    rows = labelled(200)
    label = np.zeros(200, np.float32)
    label[keep] = rows.label[keep]

    with pytest.raises(DataError, match=f"the {part} part of the 200 rows has one class only"):
        train.train(Rows(rows.features, rows.x, label), 42, quiet)


def test_the_published_recipe_trains_both_models_for_twenty_epochs():
    told = []

    module, shadow = train.train_paper(labelled(200), 42, lambda *said: told.append(said))

    assert told == [(done, 40, None) for done in range(1, 41)]
    assert not module.training
    assert not shadow.training


def test_the_published_sizes():
    module = SelfHealingMLP(10)

    module.freeze_for_healing()
    trainable = sum(p.numel() for p in module.parameters() if p.requires_grad)
    module.unfreeze_all()
    every = sum(p.numel() for p in module.parameters() if p.requires_grad)
    assert (trainable, every) == (8_321, 13_250)


def test_the_reference_gives_a_constant_feature_an_sd_of_one():
    x = np.array([[1, 5], [3, 5]], np.float32)

    rows = Rows(("a", "b"), x, np.array([0, 1], np.float32))
    found, _ = train.reference(rows, SelfHealingMLP(2))

    assert (found.mean, found.sd) == ([2.0, 5.0], [1.0, 1.0])
    assert (found.rows, found.fraud_share) == (2, 0.5)


def test_outputs_are_as_restless_as_all_of_training_shows_them_to_be():
    x = np.random.default_rng(8).normal(size=(5_000, 2)).astype(np.float32)
    x[:, 0] += np.arange(5_000) // 1_000 % 2  # the newest fifth has no night and day
    rows = Rows(("a", "b"), x, (x[:, 0] + x[:, 1] > 2).astype(np.float32))
    network, _ = train.train(rows, 5, quiet)

    found, _ = train.reference(rows, network)
    calm, _ = train.reference(Rows(("a", "b"), x[4_000:], rows.label[4_000:]), network)

    assert max(of.unrest for of in found.outputs) > 2
    assert max(of.unrest for of in calm.outputs) < 2


def test_all_features_are_watched_unless_some_are_named():
    assert train.watched(None, ["a", "b"]) == ["a", "b"]
    assert train.watched(["b"], ["a", "b"]) == ["b"]
    with pytest.raises(DataError, match="--watch c: no such feature; there are a, b"):
        train.watched(["c"], ["a", "b"])
