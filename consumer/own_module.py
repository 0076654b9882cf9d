"""A network of the user's own: any `torch.nn.Module` that is found by its import path.

It maps rows (rows, features) float32 to (rows,) or (rows, 1): log odds, or probabilities. One of
its submodules, the adapter, heals: it is called with one tensor, as many rows as there are. Nothing
else is asked. What reaches the output around the adapter may do so in any way, so the whole network
runs for every adapter state.
"""

from __future__ import annotations

import copy
import importlib
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from consumer.errors import ModelError
from consumer.manifest import Module
from consumer.model import FARTHEST, AdapterState, Healable

# Probabilities nearer to 0 or 1 count as that: the log odds of 0 are not finite.
LEAST = 1 / (1 + math.exp(FARTHEST))
# How far log odds may depend on the rows beside them: float32 products of another shape differ in
# their last bits, 1e-7 of a number, and a deep network has thousands of them in a row.
APART = 1e-3


class OwnModule(Healable):
    """The network, and which part of it heals."""

    def __init__(self, network: nn.Module, about: Module) -> None:
        """Raises: ModelError where there is no such adapter, or nothing in it that can heal."""
        super().__init__()
        self._network = network
        self.about = about
        names = [name for name, _ in network.named_modules() if name]
        if about.adapter not in names:
            raise ModelError(
                f"module.adapter: no submodule {about.adapter!r} in {about.path}; "
                f"there are {', '.join(names) or 'none'}"
            )
        if not self.adapter_parameters():
            raise ModelError(f"module.adapter: {about.adapter!r} has no parameters: nothing heals")

    @property
    def network(self) -> nn.Module:
        """The user's own."""
        return self._network

    def represent(self, x: Tensor) -> Tensor:  # (rows, features)
        """The rows themselves."""
        return x

    def latent(self, h: Tensor) -> Tensor:  # (rows, features)
        """What the adapter is given at its first call, flattened: (rows, width)."""
        given: list[Tensor] = []

        def note(_: nn.Module, arguments: tuple[Any, ...]) -> None:
            given.extend(arguments[:1])

        hook = self._network.get_submodule(self.about.adapter).register_forward_pre_hook(note)
        try:
            self._network(h)
        finally:
            hook.remove()
        if not given or not isinstance(given[0], Tensor) or given[0].shape[:1] != h.shape[:1]:
            raise ModelError(
                f"module.adapter: {self.about.adapter!r} is not called with one tensor of as many "
                "rows as there are"
            )
        return given[0].flatten(1) if given[0].ndim > 1 else given[0][:, None]

    def logit(self, h: Tensor, adapter: AdapterState | None = None) -> Tensor:  # (rows, features)
        """Log odds of fraud, (rows,), under the network's own adapter or the state given."""
        found = torch.func.functional_call(self._network, dict(adapter or {}), (h,))
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        if shape not in ((len(h),), (len(h), 1)):
            raise ModelError(f"module.path: {len(h)} rows give {shape}, not ({len(h)},)")
        out: Tensor = found.reshape(len(h)).float()
        return out if self.about.output == "logit" else torch.logit(out.clamp(LEAST, 1 - LEAST))

    def adapter_parameters(self) -> dict[str, nn.Parameter]:
        """By their names in the network."""
        return {
            name: parameter
            for name, parameter in self._network.named_parameters()
            if name.startswith(f"{self.about.adapter}.")
        }

    def base_state(self) -> dict[str, Tensor]:
        """Every weight and buffer but the adapter's parameters."""
        heals = self.adapter_parameters()
        return {n: tensor for n, tensor in self._network.state_dict().items() if n not in heals}


def make(about: Module) -> OwnModule:
    """Import the network's class and make one, with the weights that it begins with.

    Its own code runs. Raises: ModelError where it cannot be found or made.
    """
    where, _, name = about.path.partition(":")
    try:
        found: Any = importlib.import_module(where)
        for part in name.split("."):
            found = getattr(found, part)
    except ModuleNotFoundError as error:
        raise ModelError(
            f"module.path: no module {error.name!r} on the Python path; start where "
            f"`import {where}` works, or name its folder in PYTHONPATH"
        ) from error
    except AttributeError as error:
        raise ModelError(f"module.path: {_line(error)}") from error
    except Exception as error:  # whatever the user's own code raises
        raise ModelError(f"module.path: importing {where!r} failed: {_line(error)}") from error
    try:
        network = found(**about.arguments)
    except Exception as error:
        given = ", ".join(f"{name}={value!r}" for name, value in about.arguments.items())
        raise ModelError(f"module.arguments: {name}({given}) failed: {_line(error)}") from error
    if not isinstance(network, nn.Module):
        kind = type(network).__name__
        raise ModelError(f"module.path: {about.path} makes a {kind}, not a torch.nn.Module")
    return OwnModule(network, about)


def check(module: OwnModule, features: Sequence[str], x: Tensor) -> int:
    """Try the network, in evaluation mode, on `x: (rows, features)`; the width of its latent.

    Raises: ModelError, naming what of the contract does not hold.
    """
    try:
        copied = copy.deepcopy(module).requires_grad_(False)
        with torch.no_grad():
            width = copied.latent(x).shape[1]
            whole = copied.logit(x)
            alone = torch.cat([copied.logit(row[None]) for row in x])
            raw = copied.network(x)
        with torch.enable_grad():
            state = {n: p.clone().requires_grad_() for n, p in copied.adapter_parameters().items()}
            reached = copied.logit(x, state).sum()
        gradients = (
            torch.autograd.grad(reached, list(state.values()), allow_unused=True)
            if reached.requires_grad
            else [None] * len(state)
        )
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"module.path: {module.about.path} cannot take rows of the {len(features)} features: "
            f"{_line(error)}"
        ) from error
    if not bool(torch.isfinite(raw).all()):
        raise ModelError("module.path: scores of training's mean rows are not finite")
    if module.about.output == "probability" and not bool(((raw >= 0) & (raw <= 1)).all()):
        raise ModelError('module.output: not between 0 and 1; is it output = "logit"?')
    if not torch.allclose(whole, alone, rtol=APART, atol=APART):
        raise ModelError("module.path: a row's score depends on chance or on the rows beside it")
    for name, gradient in zip(state, gradients, strict=True):
        if gradient is None:
            raise ModelError(f"module.adapter: the score does not depend on {name!r}")
    return width


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
