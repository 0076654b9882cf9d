"""One cell as a task of a process; a module of its own, so that a spawned process finds it."""

from __future__ import annotations

from pathlib import Path

from benchmarks.study import plots
from benchmarks.study.cells import CONDITIONS, run
from benchmarks.study.figures import Figures, figures
from producer_sim.scenarios import Scenario

RESULTS = Path("docs/results/study")
PLOTTED = {("translate", "all, 5 late"), ("novel", "10%, 5 late"), ("recurring", "all, 5 late")}
Cell = tuple[str, str, int, str, Path]


def work(cell: Cell) -> Figures:
    """Run it, judge it, and draw it where it is one of those that are shown."""
    scenario, labels, seed, policy, folder = cell
    (condition,) = (c for c in CONDITIONS if c.name == labels)
    found = run(Scenario(scenario), condition, seed, folder, policy)
    if (scenario, labels) in PLOTTED and policy == "hedge" and seed == min(plots.seeds(folder)):
        plots.draw(found, scenario, labels, seed, RESULTS)
    return figures(found, scenario, labels, policy, seed)
