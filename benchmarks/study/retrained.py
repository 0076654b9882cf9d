"""What a team does without healing: the whole network trained anew each week, on recent labels."""

from __future__ import annotations

import copy

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from numpy.typing import NDArray

from consumer import model_directory
from consumer.columns import Float32, Float64, Int8, Int64
from consumer.model_directory import Model
from consumer.settings import DAY_MS

WEEK_MS, MEMORY_MS = 7 * DAY_MS, 21 * DAY_MS
EPOCHS, BATCH, RATE = 12, 512, 2e-3


def score(
    model: Model,
    stream: tuple[Float32, Int8, Int64],
    come: NDArray[np.bool_],
    *,
    seed: int,
    delay_ms: int,
) -> Float64:
    """Scores, (rows,), each week's from the network as it begins: the base, all of it retrained.

    On the labels of `stream` that have come until then, of the last three weeks of labelled rows:
    12 epochs of Adam, its rate falling to 0. See `deployed.score` for the arguments.
    """
    model_directory.one_thread()
    x, y, time = stream
    found = np.zeros(len(x))
    for start in range(int(time[0]), int(time[-1]) + 1, WEEK_MS):
        known = come & (time <= start - delay_ms) & (time > start - delay_ms - MEMORY_MS)
        network = copy.deepcopy(model.module)
        if 0 < y[known].sum() < known.sum():
            _train(network, torch.from_numpy(x[known]), torch.from_numpy(y[known]).float(), seed)
        week = (time >= start) & (time < start + WEEK_MS)
        with torch.no_grad():
            found[week] = network(torch.from_numpy(x[week])).numpy()
    return found


def _train(network: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(network.requires_grad_(True).parameters(), lr=RATE)
    steps = EPOCHS * -(-len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 1e-3, steps)
    for _ in range(EPOCHS):
        for some in torch.randperm(len(x), generator=generator).split(BATCH):
            optimiser.zero_grad()
            p = network(x[some]).clamp(1e-6, 1 - 1e-6)
            F.binary_cross_entropy(p, y[some]).backward()
            optimiser.step()
            schedule.step()
    network.requires_grad_(False)
