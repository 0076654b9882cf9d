"""The model: a frozen backbone and head around a small trainable adapter.

Source: the published experiment, "Self-Healing Neural Networks in PyTorch" (2026). The order in
which layers are made is part of the contract: it fixes which random numbers each one gets.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

# A feature a million standard deviations away is as far as any: beyond it the layers would overflow
# float32, and no number can be compared with a threshold.
FARTHEST_SD = 1e6
# Log odds beyond this are certainty enough: float32 probabilities have no more digits.
FARTHEST = 15.0

AdapterState = Mapping[str, Tensor]  # the adapter's parameters by name; never changed in place


class Healable(nn.Module, ABC):
    """A network with an adapter inside, as scoring, healing and the experts use it.

    What the adapter leaves alone, `represent`, is worked out once for many adapter states.
    """

    @abstractmethod
    def represent(self, x: Tensor) -> Tensor:
        """What every adapter state begins with, (rows, …), of `x: (rows, features)`."""

    @abstractmethod
    def latent(self, h: Tensor) -> Tensor:
        """What the adapter is given, (rows, width), of what `represent` made."""

    @abstractmethod
    def logit(self, h: Tensor, adapter: AdapterState | None = None) -> Tensor:
        """Log odds of fraud, (rows,), under the module's own adapter or the state given."""

    @abstractmethod
    def adapter_parameters(self) -> dict[str, nn.Parameter]:
        """What heals, by name: the parameters themselves."""

    @abstractmethod
    def base_state(self) -> dict[str, Tensor]:
        """Everything but the adapter: what a heal must leave untouched."""

    @property
    def network(self) -> nn.Module:
        """The module whose weights a model directory holds."""
        return self

    def decide(self, h: Tensor, adapter: AdapterState | None = None) -> Tensor:
        """Probability of fraud, (rows,), under the module's own adapter or the state given."""
        return torch.sigmoid(self.logit(h, adapter))

    def forward(self, x: Tensor) -> Tensor:  # (rows, features)
        """Probability of fraud, (rows,)."""
        return self.decide(self.represent(x))

    def freeze_for_healing(self) -> None:
        """Leave only the adapter trainable."""
        self.requires_grad_(False)
        for parameter in self.adapter_parameters().values():
            parameter.requires_grad_(True)

    def unfreeze_all(self) -> None:
        """Make everything trainable again."""
        self.requires_grad_(True)

    def adapter_state(self) -> dict[str, Tensor]:
        """A copy of the adapter's parameters."""
        return {name: p.detach().clone() for name, p in self.adapter_parameters().items()}


class ReflexiveLayer(nn.Module):
    """`x + scale * adapter(x)`: near the identity at first, and the only part that heals."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.adapter = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, width))
        self.scale = nn.Parameter(torch.tensor(0.1))

    def forward(self, h: Tensor) -> Tensor:  # (rows, width)
        """The corrected representation, (rows, width)."""
        corrected: Tensor = h + self.scale * self.adapter(h)
        return corrected

    @staticmethod
    def seen(h: Tensor, state: AdapterState, weight: Tensor, bias: Tensor) -> Tensor:
        """What a linear layer of one output makes of `forward` under a state, (rows, 1).

        The adapter's second layer and that one are one vector, and tanh(z) = 2 sigmoid(2 z) - 1, of
        which torch makes ten in the time of a tanh: the same but for the last digits in a third of
        the time.
        """
        first, second = ((state[f"adapter.{n}.weight"], state[f"adapter.{n}.bias"]) for n in (0, 2))
        through = state["scale"] * weight  # (1, width)
        inner = through @ second[0]  # (1, width)
        bent = F.linear(h, 2 * first[0], 2 * first[1]).sigmoid_()
        ahead = bias + through @ second[1] - inner.sum()
        return F.linear(h, weight, ahead) + F.linear(bent, 2 * inner)


class Standardise(nn.Module):
    """`(x - mean) / sd` with the training rows' figures; 0 and 1 leave every bit as it is."""

    mean: Tensor
    sd: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("sd", torch.ones(features))

    def forward(self, x: Tensor) -> Tensor:  # (rows, features)
        """Standardised features, (rows, features)."""
        return ((x - self.mean) / self.sd).clamp(-FARTHEST_SD, FARTHEST_SD)


class Calibrate(nn.Module):
    """`slope * logit + bias`, fitted on held-out rows; 1 and 0 leave every bit as it is.

    Source: Platt, "Probabilistic outputs for support vector machines" (1999).
    """

    slope: Tensor
    bias: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("slope", torch.ones(()))
        self.register_buffer("bias", torch.zeros(()))

    def forward(self, logit: Tensor) -> Tensor:
        """Calibrated logits, of the same shape."""
        return self.slope * logit + self.bias


class SelfHealingMLP(Healable):
    """backbone -> reflexive -> head; 13,250 parameters at 10 features and width 64."""

    def __init__(self, features: int, width: int = 64) -> None:
        super().__init__()
        self.standardise = Standardise(features)
        self.backbone = nn.Sequential(
            nn.Linear(features, width),
            nn.ReLU(inplace=True),
            nn.Linear(width, width),
            nn.ReLU(inplace=True),
        )
        self.reflexive = ReflexiveLayer(width)
        self.head = nn.Linear(width, 1)
        self.calibrate = Calibrate()

    def represent(self, x: Tensor) -> Tensor:  # (rows, features)
        """What the backbone makes of the rows, (rows, width): the same for every adapter state."""
        h: Tensor = self.backbone(self.standardise(x))
        return h

    def latent(self, h: Tensor) -> Tensor:  # (rows, width)
        """What the backbone made, as it is."""
        return h

    def logit(self, h: Tensor, adapter: AdapterState | None = None) -> Tensor:  # (rows, width)
        """Log odds of fraud, (rows,), under the module's own adapter or the state given."""
        if adapter is None:
            seen = self.head(self.reflexive(h))
        else:
            seen = self.reflexive.seen(h, adapter, self.head.weight, self.head.bias)
        logit: Tensor = self.calibrate(seen).squeeze(-1)
        return logit

    def adapter_parameters(self) -> dict[str, nn.Parameter]:
        """The reflexive layer's."""
        return dict(self.reflexive.named_parameters())

    def base_state(self) -> dict[str, Tensor]:
        """Standardisation, backbone, head and calibration."""
        return {
            name: tensor
            for name, tensor in self.state_dict().items()
            if not name.startswith("reflexive.")
        }


class PlainMLP(nn.Module):
    """The article's separately trained shadow: the same layers without an adapter."""

    def __init__(self, features: int, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(features, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:  # (rows, features)
        """Probability of fraud, (rows,)."""
        p: Tensor = self.layers(x)
        return p.squeeze(-1)


def columns_of(names: Sequence[str], features: Sequence[str]) -> list[int]:
    """Where `names` stand in `features`."""
    return [list(features).index(name) for name in names]
