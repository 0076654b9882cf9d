"""Two networks that have nothing of ours but a part that may heal."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Embed(nn.Module):
    """A block of numbers for each feature, by a layer of its own.

    Source: Gorishniy et al., "On embeddings for numerical features in tabular deep learning"
    (2022).
    """

    def __init__(self, features: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(features, size))
        self.bias = nn.Parameter(torch.randn(features, size))

    def forward(self, x: Tensor) -> Tensor:  # (rows, features)
        """(rows, features * size)."""
        return torch.relu(x[:, :, None] * self.weight + self.bias).flatten(1)


class Residual(nn.Module):
    """`h + mixed(norm(h)) + adapter(norm(h))`: three ways past one another."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mixed = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(0.1), nn.Linear(2 * width, width)
        )
        self.adapter = nn.Sequential(nn.Linear(width, 8), nn.Tanh(), nn.Linear(8, width))

    def forward(self, h: Tensor) -> Tensor:  # (rows, width)
        """(rows, width)."""
        normed = self.norm(h)
        out: Tensor = h + self.mixed(normed) + self.adapter(normed)
        return out


class FraudResNet(nn.Module):
    """Embedded features through residual blocks; gives log odds, (rows, 1)."""

    def __init__(self, features: int, width: int = 48, blocks: int = 3) -> None:
        super().__init__()
        self.embed = Embed(features, 6)
        self.first = nn.Linear(6 * features, width)
        self.blocks = nn.Sequential(*(Residual(width) for _ in range(blocks)))
        self.last = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 1))

    def forward(self, x: Tensor) -> Tensor:  # (rows, features)
        """Log odds of fraud, (rows, 1)."""
        out: Tensor = self.last(self.blocks(self.first(self.embed(x))))
        return out


class PageConvolution(nn.Module):
    """A convolution over the features of a web page; gives probabilities, (rows,)."""

    def __init__(self, features: int, channels: int = 12) -> None:
        super().__init__()
        self.spread = nn.Conv1d(1, channels, 3, padding=1)
        self.adapter = nn.Conv1d(channels, channels, 1)
        self.narrow = nn.Conv1d(channels, channels, 3, padding=1)
        self.decide = nn.Linear(channels * features, 1)

    def forward(self, x: Tensor) -> Tensor:  # (rows, features)
        """Probability of phishing, (rows,)."""
        wide = torch.relu(self.spread(x[:, None, :]))  # (rows, channels, features)
        wide = wide + self.adapter(wide)
        found = torch.relu(self.narrow(wide)).flatten(1)
        return torch.sigmoid(self.decide(found)).squeeze(-1)
