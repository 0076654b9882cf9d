"""Phishing pages instead of payments: a convolution that gives probabilities, and a change.

python -m examples.own_field [--rows 6000] [--seed 1]

Source: Abdelhamid et al., "Phishing detection based associative classification data mining" (2014):
1,250 pages, nine features of 0, .5 and 1, as river ships them.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from river.datasets import Phishing

from benchmarks.study import deployed
from benchmarks.study.deployed import Deployed
from benchmarks.study.figures import log_losses
from consumer import bring_your_own, model_directory
from consumer.columns import Float32, Int8
from examples.networks import PageConvolution
from examples.training import fit

TRAINING = 600  # the first pages; the stream is drawn from the rest
CHANGE = 1 / 3  # of the stream is as in training
# Then phishers have learnt what gives them away: on every page these two say the opposite.
REVERSED = ("empty_server_form_handler", "https")
STEP_MS = 1_000
LATE_MS = 100 * STEP_MS


def pages() -> tuple[list[str], Float32, Int8]:
    """Names of the features, (rows, features), and whether each is a phishing page, (rows,)."""
    rows = list(Phishing())
    names = list(rows[0][0])
    x = np.array([[float(one[name]) for name in names] for one, _ in rows], np.float32)
    return names, x, np.array([bool(label) for _, label in rows]).astype(np.int8)


def run(rows: int, seed: int, folder: Path) -> tuple[Deployed, Int8]:
    """Train, write the directory, score the stream; what was published, and the truth (rows,)."""
    model_directory.one_thread()
    names, x, y = pages()
    torch.manual_seed(seed)
    network = PageConvolution(len(names))
    then, labels = x[:TRAINING], y[:TRAINING].astype(np.float32)
    fit(network, torch.from_numpy(then), torch.from_numpy(labels), probability=True, seed=seed)
    bring_your_own.save(
        folder,
        network,
        path="examples.networks:PageConvolution",
        arguments={"features": len(names)},
        adapter="adapter",
        output="probability",
        features=names,
        x=then,
        label=labels,
    )
    drawn = np.random.default_rng(seed).integers(TRAINING, len(x), rows)
    stream, truth = x[drawn], y[drawn]
    after = int(rows * CHANGE)
    for name in REVERSED:
        column = names.index(name)
        stream[after:, column] = 1 - stream[after:, column]
    times = np.arange(rows, dtype=np.int64) * STEP_MS
    found = deployed.score(
        model_directory.load(folder),
        (stream, truth, times),
        np.ones(rows, bool),
        policy="hedge",
        delay_ms=LATE_MS,
    )
    return found, truth


def main() -> None:
    """Print log loss and accuracy before and after the change."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--rows", type=int, default=6_000)
    asked.add_argument("--seed", type=int, default=1)
    given = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found, y = run(given.rows, given.seed, Path(folder) / "model")
    after = int(given.rows * CHANGE)
    for name, part in (("before", slice(0, after)), ("after", slice(after, None))):
        said = []
        for who, p in (("healed", found.healed), ("frozen", found.frozen)):
            loss = log_losses(p, y)[part].mean()
            accuracy = ((p >= 0.5) == (y == 1))[part].mean()
            said.append(f"{who} log loss {loss:.4f}, accuracy {accuracy:.3f}")
        print(f"{name} the change: {'; '.join(said)}")
    told = {action: len(at) for action, at in found.said.items()}
    print(", ".join(f"{action} {count}" for action, count in sorted(told.items())))


if __name__ == "__main__":
    main()
