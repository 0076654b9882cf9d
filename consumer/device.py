"""Where the network computes. What stands around it, a few numbers an expert, stays on the CPU."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from consumer.errors import SettingsError
from consumer.model import AdapterState, Healable

CPU = torch.device("cpu")


def named(name: str) -> torch.device:
    """The device of the setting `device`.

    Raises: SettingsError where it is none of this machine's, or no CPU or CUDA device.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingsError(
            f"setting device: {name!r} is no device; cpu, cuda or cuda:1"
        ) from error
    if device.type == "cpu":
        return CPU
    if device.type != "cuda":
        raise SettingsError(f"setting device: {name!r} is not supported; cpu, cuda or cuda:1")
    found = torch.cuda.device_count()
    if (device.index or 0) >= found:
        raise SettingsError(
            f"setting device: {name!r}, but torch {torch.__version__} sees {found} CUDA devices "
            "here; check the driver and that torch is a CUDA build, or set device = 'cpu'"
        )
    return device


def placed(module: Healable, device: torch.device) -> Healable:
    """The module where it is to compute: itself on the CPU, a copy elsewhere."""
    return module if device == CPU else Elsewhere(module, device)


class Elsewhere(Healable):
    """A network on another device, for callers that stay on the CPU.

    Rows and adapter states travel there with each call, log odds back; what `represent` makes stays
    there, for `latent` and `logit` alone. Gradients travel the same way.
    """

    def __init__(self, module: Healable, device: torch.device) -> None:
        super().__init__()
        self._there = copy.deepcopy(module).to(device)
        self._device = device

    def represent(self, x: Tensor) -> Tensor:
        """There, (rows, …), of `x: (rows, features)`."""
        return self._there.represent(x.to(self._device))

    def latent(self, h: Tensor) -> Tensor:
        """What the adapter is given, (rows, width)."""
        return self._there.latent(h).cpu()

    def logit(self, h: Tensor, adapter: AdapterState | None = None) -> Tensor:
        """Log odds of fraud, (rows,)."""
        if adapter is not None:
            adapter = {name: tensor.to(self._device) for name, tensor in adapter.items()}
        return self._there.logit(h, adapter).cpu()

    def adapter_parameters(self) -> dict[str, nn.Parameter]:
        """Those there."""
        return self._there.adapter_parameters()

    def base_state(self) -> dict[str, Tensor]:
        """As the module's."""
        return self._there.base_state()
