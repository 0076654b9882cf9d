"""A network of the user's own: its contract, how it heals, and each way it may not be."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from consumer import bring_your_own, model_directory, own_module, states
from consumer.driver import Driver
from consumer.errors import DataError, ModelError
from consumer.experts.base import View
from consumer.heal import Healer
from consumer.manifest import Module
from consumer.mixture import FROZEN, Mixture
from consumer.own_module import OwnModule
from consumer.score import Scorer
from tests.streams import DRIFT, FEATURES, actions, settings, stream

CLEAN = stream(600, seed=1)
X, Y = CLEAN.transactions.x, CLEAN.labels.is_fraud
ABOUT = Module(
    path="examples.networks:FraudResNet",
    arguments={"features": 3, "width": 16, "blocks": 2},
    adapter="blocks.0.adapter",
    output="logit",
)


def network(about=ABOUT, seed=3):
    torch.manual_seed(seed)
    return own_module.make(about).network.eval()


def saved(folder, made, about=ABOUT, **given):
    return bring_your_own.save(
        folder,
        made,
        **{**about.model_dump(), "features": FEATURES, "x": X, "label": Y, **given},
    )


@pytest.fixture(scope="module")
def trained():
    """A network that knows the clean stream."""
    from examples.training import fit

    model_directory.one_thread()
    made = network()
    x, y = torch.from_numpy(X), torch.from_numpy(Y.astype(np.float32))
    fit(made, x, y, probability=False, seed=1)
    return made


@pytest.fixture
def of(trained, tmp_path):
    """Its model directory, loaded."""
    saved(tmp_path / "model", trained, rules=["V14 < -1.5"])
    return model_directory.load(tmp_path / "model")


def test_the_frozen_score_is_the_networks_own(of, trained):
    with torch.no_grad():
        own = torch.sigmoid(trained(torch.from_numpy(X))).squeeze(-1).numpy()

    scores = Scorer(of).adapted(X, of.base_adapter)

    assert all(np.array_equal(each, own) for each in scores)


def test_an_adapter_state_counts_wherever_the_adapter_is(of, trained):
    state = {name: tensor + 0.1 for name, tensor in of.base_adapter.items()}
    changed = copy.deepcopy(trained)
    changed.load_state_dict({**changed.state_dict(), **state})
    with torch.no_grad():
        own = torch.sigmoid(changed(torch.from_numpy(X))).squeeze(-1).numpy()

    score, shadow = Scorer(of).adapted(X, state)

    assert np.array_equal(score, own)
    assert np.abs(score - shadow).max() > 0.01
    assert sorted(state) == [f"blocks.0.adapter.{n}" for n in ("0.bias", "0.weight", *LAST)]


LAST = ("2.bias", "2.weight")


def test_the_latent_is_what_the_adapter_is_given(of, trained):
    given = []
    hook = trained.blocks[0].adapter.register_forward_hook(lambda _, x, __: given.append(x[0]))
    with torch.no_grad():
        trained(torch.from_numpy(X))
    hook.remove()

    base = Mixture(of).base
    with torch.no_grad():
        found = base.latent(View.of(base, X).h)

    assert torch.equal(found, given[0])
    assert found.shape == (len(X), 16)
    assert of.trained.latent_mean == pytest.approx(found.mean(dim=0).numpy(), abs=1e-5)


def test_the_base_hash_covers_all_but_the_adapters_parameters(of):
    for name, tensor in of.module.network.state_dict().items():
        before = model_directory.base_sha256(of.module)
        kept = tensor.clone()
        tensor.add_(1)
        changed = model_directory.base_sha256(of.module) != before
        tensor.copy_(kept)
        assert changed != name.startswith("blocks.0.adapter."), name


@pytest.mark.parametrize("policy", ["paper", "hedge"])
def test_it_heals_and_the_rest_of_it_stays(of, policy):
    drifted = stream(2400, drift=DRIFT, start=600)
    # Both classes moved: then it can be undone.
    x = drifted.transactions.x.copy()
    x[drifted.labels.is_fraud == 1, 1] -= DRIFT
    moved = replace(drifted.transactions, x=x)
    said, scores, shadow = [], [], []

    def take(out):
        said.extend(actions(out))
        scores.extend(each.score for each in out.scores)
        shadow.extend(each.shadow for each in out.scores)

    flags = {"heal.policy": policy, "heal.mode": "inline", "batch.rows": 100}
    clean = stream(600)
    with Driver(settings(flags), of) as driver:
        driver.run([(clean.transactions, clean.labels), (moved, drifted.labels)], take)

    y = drifted.labels.is_fraud[-1500:]
    healed, frozen = (np.concatenate(each)[-1500:] for each in (scores, shadow))
    assert "heal-deployed" in said
    if policy == "hedge":
        assert loss(healed, y) < 0.7 * loss(frozen, y)
    else:
        assert not np.array_equal(healed, frozen)
    of.check_base()


def loss(p, y):
    p = np.clip(p.astype(np.float64), 1e-7, 1 - 1e-7)
    return -np.where(y == 1, np.log(p), np.log1p(-p)).mean()


def test_the_published_heal_moves_the_adapter_alone(of):
    before = {n: t.clone() for n, t in of.module.network.state_dict().items()}

    healed = Healer(of.module, of.rules, 5, 0.003).heal(of.base_adapter, X[:50], Y[:50], 0.3)

    assert healed.loss_after < healed.loss_before
    assert not any(torch.equal(healed.adapter[n], t) for n, t in of.base_adapter.items())
    assert all(torch.equal(before[n], t) for n, t in of.module.network.state_dict().items())


def test_every_expert_of_it_gives_a_probability(of):
    mixture = Mixture(of)
    pool = {name: expert.cold(mixture.base) for name, expert in mixture.experts.items()}

    p = mixture.probabilities(X[:40], {FROZEN: {}, **pool})

    assert p.shape == (len(mixture.experts), 40)
    assert ((p > 0) & (p < 1)).all()


class Small(nn.Module):
    """Linear, with a part that may heal; `odd` names what is wrong with it."""

    def __init__(self, odd: str = "", output: str = "logit"):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.adapter = nn.Linear(4, 4)
        self.idle = nn.ReLU()
        self.unused = nn.Linear(4, 4)
        self.last = nn.Linear(4, 1)
        self.odd, self.output = odd, output
        if odd == "tied":
            self.unused.weight = self.adapter.weight

    def forward(self, x):
        h = self.first(x)
        h = h + self.adapter(h if self.odd != "transposed" else h.T @ h)[: len(h)].mean()
        if self.odd in ("", "tied"):
            h = self.first(x) + self.adapter(self.first(x))
        if self.odd == "detached":
            h = self.first(x) + self.adapter(self.first(x)).detach()
        if self.odd == "chance":
            h = h + torch.rand(())
        out = self.last(h)
        if self.odd == "two":
            out = out.repeat(1, 2)
        if self.odd == "list":
            return [out]
        if self.odd == "nan":
            out = out * float("nan")
        if self.odd == "raises":
            raise ValueError("no such\nrows")
        return torch.sigmoid(out) if self.output == "probability" else 9 * out + 9


class Unbuilt(nn.Module):
    """Cannot be made."""

    def __init__(self):
        raise ValueError("not today")


def number():
    """Makes no module."""
    return 3


HERE = Module(path=f"{__name__}:Small", adapter="adapter", output="logit")


@pytest.mark.parametrize("output", ["logit", "probability"])
def test_log_odds_and_probabilities_are_told_apart(tmp_path, output):
    about = HERE.model_copy(update={"output": output, "arguments": {"output": output}})
    made = network(about)
    saved(tmp_path, made, about)

    with torch.no_grad():
        raw = made(torch.from_numpy(X)).squeeze(-1)
        found = model_directory.load(tmp_path).module(torch.from_numpy(X))

    assert found.numpy() == pytest.approx(
        (raw if output == "probability" else torch.sigmoid(raw)).numpy(), abs=1e-6
    )


def test_a_probability_of_0_or_1_has_finite_log_odds():
    about = HERE.model_copy(update={"output": "probability"})
    module = OwnModule(network(HERE), about)

    logit = module.logit(torch.tensor(X[:5]) * 1e3)

    assert torch.isfinite(logit).all()
    assert logit.abs().max() <= 15.1


def test_an_adapter_may_be_one_layer_with_a_bias_of_its_own(tmp_path):
    # An expert's own numbers are called slope and bias.
    saved(tmp_path, network(HERE), HERE)
    mixture = Mixture(model_directory.load(tmp_path))
    cold = mixture.experts["adapter"].cold(mixture.base)

    one, other = mixture.probabilities(X, {FROZEN: {}, "adapter": cold})

    assert one == pytest.approx(other, abs=1e-6)


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ("two", "2 rows give (2, 2), not (2,)"),
        ("list", "2 rows give list, not (2,)"),
        ("nan", "scores of training's mean rows are not finite"),
        ("raises", "cannot take rows of the 3 features: ValueError: no such rows"),
        ("chance", "depends on chance or on the rows beside it"),
        ("mean", "depends on chance or on the rows beside it"),
        ("detached", "the score does not depend on 'adapter.weight'"),
        ("transposed", "is not called with one tensor of as many rows"),
    ],
)
def test_a_network_that_breaks_the_contract_is_refused(tmp_path, odd, said):
    about = HERE.model_copy(update={"arguments": {"odd": odd}})

    with pytest.raises(ModelError) as error:
        saved(tmp_path, network(about), about, x=X[:2], label=Y[:2])

    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"path": "nowhere.at_all:Net"}, "no module 'nowhere' on the Python path; start where"),
        ({"path": "examples.networks:Nothing"}, "has no attribute 'Nothing'"),
        ({"path": f"{__name__}:Unbuilt"}, "Unbuilt() failed: ValueError: not today"),
        ({"path": f"{__name__}:number"}, "makes a int, not a torch.nn.Module"),
        ({"arguments": {"size": 3}}, "Small(size=3) failed: TypeError"),
        ({"adapter": "elsewhere"}, "no submodule 'elsewhere' in"),
        ({"adapter": "idle"}, "'idle' has no parameters: nothing heals"),
    ],
)
def test_what_cannot_be_made_is_refused(change, said):
    with pytest.raises(ModelError) as error:
        own_module.make(HERE.model_copy(update=change))
    assert said in str(error.value)


def test_log_odds_called_probabilities_are_noticed(tmp_path):
    about = HERE.model_copy(update={"output": "probability"})
    with pytest.raises(ModelError, match="not between 0 and 1"):
        saved(tmp_path, network(HERE), about)


def test_weights_that_share_memory_are_refused(tmp_path):
    about = HERE.model_copy(update={"arguments": {"odd": "tied"}})
    with pytest.raises(ModelError, match="share memory"):
        saved(tmp_path, network(about), about)


def test_a_path_that_makes_another_network_is_noticed(tmp_path):
    other = HERE.model_copy(update={"arguments": {"output": "probability"}})
    with pytest.raises(ModelError, match="scores otherwise"):
        saved(tmp_path, network(other), HERE)


def test_rows_that_do_not_fit_the_features_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"x has shape \(600, 3\) for 600 labels of 2"):
        saved(tmp_path, network(), features=["a", "b"])


def test_a_snapshot_of_it_comes_back(of):
    state = {name: tensor * 2 for name, tensor in of.base_adapter.items()}
    data = states.to_bytes(state)

    back = states.from_bytes(data, states.sha256(data), "v2")

    one, other = (Scorer(of).adapted(X, each)[0] for each in (state, back))
    assert np.array_equal(one, other)
