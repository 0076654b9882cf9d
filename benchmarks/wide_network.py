"""A network of a million parameters through the same path, as a user's own module."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks import streams
from consumer import bring_your_own
from producer_sim.rows import Transactions

ADAPTER = 16
EPOCHS = 3
BATCH = 256


class Wide(nn.Module):
    """Two wide layers, and beside them a narrow adapter that heals; gives log odds."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Linear(features, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.adapter = nn.Sequential(
            nn.Linear(width, ADAPTER), nn.Tanh(), nn.Linear(ADAPTER, width)
        )
        self.head = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:  # (rows, features)
        """Log odds of fraud, (rows, 1)."""
        h = self.backbone(x)
        out: Tensor = self.head(h + 0.1 * self.adapter(h))
        return out


def save(folder: Path, rows: Transactions, width: int) -> int:
    """A model directory of a network trained on these rows; how many parameters it has."""
    x, y = streams.matrix(rows), rows.is_fraud.astype("float32")
    torch.manual_seed(42)
    network = Wide(x.shape[1], width)
    inputs, labels = torch.from_numpy(x), torch.from_numpy(y)
    optimiser = torch.optim.Adam(network.parameters())
    for _ in range(EPOCHS):
        for some in torch.randperm(len(y)).split(BATCH):
            optimiser.zero_grad()
            logit = network(inputs[some]).squeeze(-1)
            nn.functional.binary_cross_entropy_with_logits(logit, labels[some]).backward()
            optimiser.step()
    names = list(rows.features)
    bring_your_own.save(
        folder,
        network,
        path=f"{Wide.__module__}:{Wide.__name__}",
        arguments={"features": len(names), "width": width},
        adapter="adapter",
        output="logit",
        features=names,
        x=x,
        label=y,
        rules=[f"{names[0]} < -1.5"],
    )
    return sum(parameter.numel() for parameter in network.parameters())
