"""One cell as a picture: loss and cost over time, who decided, and what was said when."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import orjson

from benchmarks.study.cells import Run
from benchmarks.study.figures import costs, log_losses
from consumer.columns import Float64
from producer_sim.scenarios import CLEAN_BATCHES
from producer_sim.stream import BATCH_ROWS

mpl.use("Agg")
import matplotlib.pyplot as plt

COLOURS = {"healed": "#1b7f5c", "frozen": "#b3452c", "oracle": "#7a7a7a"}
MARKS = {
    "drift-detected": "D",
    "regime-changed": "v",
    "regime-recognised": "^",
    "change-withdrawn": "o",
    "heal-provisional": "s",
    "heal-withdrawn": "x",
    "less-sure": "d",
    "cannot-heal": "P",
    "heal-deployed": ".",
    "rollback": "X",
}
SMOOTHED = 5  # batches


def note_seeds(folder: Path, seeds: list[int]) -> None:
    """For processes that draw: which seed is the first."""
    (folder / "seeds.json").write_bytes(orjson.dumps(seeds))


def seeds(folder: Path) -> list[int]:
    """Of the present study."""
    found: list[int] = orjson.loads((folder / "seeds.json").read_bytes())
    return found


def draw(run: Run, scenario: str, labels: str, seed: int, out: Path) -> Path:
    """Write a picture and say where."""
    out.mkdir(parents=True, exist_ok=True)
    batches = len(run.y) // BATCH_ROWS
    x = np.arange(1, batches + 1)
    figure, (loss, cost, weight, said) = plt.subplots(
        4, 1, figsize=(9, 9), sharex=True, height_ratios=(3, 3, 2, 2), constrained_layout=True
    )
    figure.suptitle(f"{scenario}, labels {labels}, seed {seed}")
    for name, p in (("oracle", run.oracle), ("frozen", run.frozen), ("healed", run.healed)):
        loss.plot(x, _mean(log_losses(p, run.y)), color=COLOURS[name], label=name)
        cost.plot(x, _mean(costs(p, run.y)), color=COLOURS[name], label=name)
    loss.set_ylabel(f"log loss, mean of {SMOOTHED} batches")
    loss.legend(frameon=False)
    cost.set_ylabel("cost a transaction, $")
    names = list(dict.fromkeys(name for held in run.weights.values() for name in held))
    shares = np.zeros((len(names), batches))
    for offset, held in sorted(run.weights.items()):
        shares[:, offset // BATCH_ROWS :] = [[held.get(name, 0.0)] for name in names]
    weight.stackplot(x, shares, labels=names, alpha=0.8)
    weight.set_ylabel("weights")
    weight.legend(
        frameon=False, ncols=8, fontsize="x-small", loc="lower left", bbox_to_anchor=(0, 1)
    )
    for line, (action, mark) in enumerate(reversed(MARKS.items())):
        at = [
            e["reflexive"]["offset"] // BATCH_ROWS + 1
            for e in run.events
            if e["event"]["action"] == action
        ]
        said.plot(at, [line] * len(at), mark, color="#333333", markersize=5)
    said.set_yticks(range(len(MARKS)), list(reversed(MARKS)), fontsize="x-small")
    said.set_xlabel("batch")
    for axis in (loss, cost, weight, said):
        axis.axvline(CLEAN_BATCHES + 0.5, color="#999999", linewidth=0.8, linestyle=":")
    file = out / f"{scenario}-{labels.replace(', ', '-').replace(' ', '-').replace('%', '')}.png"
    figure.savefig(file, dpi=110)
    plt.close(figure)
    return file


def _mean(values: Float64) -> Float64:
    by_batch = values.reshape(-1, BATCH_ROWS).mean(axis=1)
    window = np.ones(SMOOTHED)
    # The first batches have fewer before them.
    counts = np.convolve(np.ones(len(by_batch)), window)[: len(by_batch)]
    smooth: Float64 = np.convolve(by_batch, window)[: len(by_batch)] / counts
    return smooth
