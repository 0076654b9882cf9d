"""Where the network computes makes no difference to what is scored, healed and said."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from consumer import device
from consumer.device import CPU, Elsewhere
from consumer.driver import Driver
from consumer.errors import SettingsError
from consumer.experts.base import Base
from consumer.score import Scorer
from tests.streams import BATCH, DRIFT, model, settings, stream

HAS_CUDA = torch.cuda.is_available()
CUDA = pytest.param(
    "cuda",
    marks=pytest.mark.skipif(not HAS_CUDA, reason="torch sees no CUDA device: not tested here"),
)


@pytest.mark.parametrize("name", ["cpu", CUDA])
def test_a_network_elsewhere_gives_the_same_log_odds_and_gradients(name):
    module = model().module.double()
    there = Elsewhere(module, torch.device(name))
    x = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = []
    for each in (module, there):
        state = {n: t.clone().requires_grad_() for n, t in module.adapter_state().items()}
        h = each.represent(x)
        logit = each.logit(h, state)
        logit.square().sum().backward()
        assert logit.device == each.latent(h).device == CPU
        found.append([logit, each.latent(h), *(t.grad for t in state.values())])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
    assert there.base_state().keys() == module.base_state().keys()


@pytest.mark.parametrize("name", ["cpu", CUDA])
def test_a_stream_is_scored_and_healed_the_same_wherever_the_network_computes(name, monkeypatch):
    rows = stream(60 * BATCH, drift=DRIFT)

    def ran():
        found, heals = [], 0

        def take(out):
            nonlocal heals
            found.extend(each.score for each in out.scores)
            heals += sum(each["event"]["action"] == "heal-deployed" for each in out.events)

        given = replace(model(), device=torch.device(name))
        with Driver(settings({"heal.policy": "hedge", "heal.mode": "inline"}), given) as driver:
            driver.run([(rows.transactions, rows.labels)], take)
        return np.concatenate(found), heals

    with monkeypatch.context() as changed:
        changed.setattr(device, "placed", lambda module, _: module)
        here, heals_here = ran()
    monkeypatch.setattr(device, "placed", Elsewhere)
    there, heals_there = ran()

    assert heals_here > 0
    assert heals_there > 0
    # Other orders of summation may admit one expert more; on a CPU they are the same.
    assert np.abs(here - there).mean() < (1e-9 if name == "cpu" else 0.01)


@pytest.mark.skipif(HAS_CUDA, reason="this machine has a CUDA device")
def test_a_device_that_is_not_there_is_named():
    with pytest.raises(SettingsError, match=r"setting device: 'cuda', but torch .* sees 0 CUDA"):
        device.named("cuda")


@pytest.mark.parametrize("name", ["gpu", "mps", ""])
def test_what_is_no_device_of_ours_is_refused(name):
    with pytest.raises(SettingsError, match=f"setting device: '{name}'"):
        device.named(name)


def test_on_the_cpu_the_network_is_itself():
    of = model()
    assert device.placed(of.module, device.named("cpu")) is of.module
    assert Scorer(of)._module is of.module
    assert not isinstance(Base(device.placed(of.module, of.device), {})._module, Elsewhere)
