"""A residual network with embedded features under the study's protocol, its adapter deep inside.

python -m examples.own_network [--scenarios translate,novel] [--labels "all, 5 late"] [--seed 101]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from benchmarks import arguments
from benchmarks.study import cells
from benchmarks.study.cells import CONDITIONS, SCENARIOS
from benchmarks.study.figures import figures
from consumer import bring_your_own, model_directory
from consumer.model_directory import Model
from examples.networks import FraudResNet
from examples.training import fit
from producer_sim import scenarios
from producer_sim.scenarios import Scenario


def model(folder: Path, seed: int) -> Model:
    """Train it on the study's 5,000 clean rows and write its directory."""
    model_directory.one_thread()
    rows = cells.rows_of(scenarios.sets(Scenario.none, seed).train)
    shape = {"features": len(rows.features)}
    torch.manual_seed(seed)
    network = FraudResNet(**shape)
    x, y = torch.from_numpy(rows.x), torch.from_numpy(rows.label)
    fit(network, x, y, probability=False, seed=seed)
    bring_your_own.save(
        folder,
        network,
        path="examples.networks:FraudResNet",
        arguments=shape,
        adapter="blocks.1.adapter",
        output="logit",
        features=rows.features,
        x=rows.x,
        label=rows.label,
        rules=["V14 < -1.5"],
        watched=["V14"],
    )
    return model_directory.load(folder)


def main() -> None:
    """Train, run the cells, print their figures."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--seed", type=int, default=101)
    asked.add_argument("--scenarios", default="translate,novel")
    asked.add_argument("--labels", default="all, 5 late", choices=[c.name for c in CONDITIONS])
    asked.add_argument("--folder", type=arguments.folder, default="study", help="what is trained")
    given = asked.parse_args()
    known = [s.value for s in SCENARIOS]
    for name in given.scenarios.split(","):
        if name not in known:
            asked.error(f"--scenarios: no {name!r}; there are {', '.join(known)}")
    mine = model(given.folder / f"own-network-{given.seed}", given.seed)
    (condition,) = (c for c in CONDITIONS if c.name == given.labels)
    for name in given.scenarios.split(","):
        run = cells.run(Scenario(name), condition, given.seed, given.folder, model=mine)
        found = figures(run, name, condition.name, "hedge", given.seed)
        print(
            f"{name}, labels {condition.name}: log loss {found.log_loss:.4f}, "
            f"frozen {found.frozen_log_loss:.4f}, retrained {found.oracle_log_loss:.4f}; "
            f"regret closed {found.regret_closed:.3f}, in cost {found.cost_closed:.3f}; "
            f"{found.heals} heals, {found.rollbacks} rollbacks"
        )


if __name__ == "__main__":
    main()
