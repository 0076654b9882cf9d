"""Ordinary torch training, as anyone would write it: nothing here knows the consumer."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

EPOCHS, PATIENCE, BATCH, RATE = 60, 6, 128, 2e-3
HELD_OUT = 0.2


def fit(network: nn.Module, x: Tensor, y: Tensor, *, probability: bool, seed: int) -> None:
    """Train in place until the newest fifth's loss stops falling, and keep the best epoch.

    `x: (rows, features)`, `y: (rows,)`; `probability`: the network gives those and no log odds.
    """
    torch.manual_seed(seed)
    cut = len(y) - int(len(y) * HELD_OUT)

    def loss(rows: Tensor) -> Tensor:
        out = network(x[rows]).reshape(len(rows))
        if probability:
            return F.binary_cross_entropy(out, y[rows])
        return F.binary_cross_entropy_with_logits(out, y[rows])

    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-2)
    held, best, since = torch.arange(cut, len(y)), float("inf"), 0
    kept = copy.deepcopy(network.state_dict())
    for _ in range(EPOCHS):
        network.train()
        for rows in torch.randperm(cut).split(BATCH):
            optimiser.zero_grad()
            loss(rows).backward()
            optimiser.step()
        network.eval()
        with torch.no_grad():
            now = float(loss(held))
        since = 0 if now < best else since + 1
        if not since:
            best, kept = now, copy.deepcopy(network.state_dict())
        if since >= PATIENCE:
            break
    network.load_state_dict(kept)
    network.eval()
