"""Two weighted rules that stay right, and one that turns out wrong when fraud moves.

python -m examples.own_rules [--seed 101] [--policy paper]

Fraud shows in V14 at first; 30 batches later it shows in V3 and no longer in V14.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from benchmarks import arguments
from benchmarks.study import cells
from benchmarks.study.cells import CONDITIONS
from benchmarks.study.figures import figures
from consumer import model_directory
from consumer.manifest import RuleTable
from consumer.model_directory import Model
from consumer.sections import HealPolicy
from producer_sim.scenarios import Scenario

RULES = (
    RuleTable(name="far out", when="V14 * V14 + V3 * V3 > 6", weight=2.0),
    RuleTable(name="one is low", when="V14 < -1.8 or V3 < -1.8", weight=0.5),
    RuleTable(name="low V14", when="V14 < -1.5"),
)


def model(folder: Path, seed: int) -> Model:
    """The study's own model, in a directory with these rules."""
    base = cells.base(seed, folder)
    assert base.trained is not None
    where = folder / f"own-rules-{seed}"
    model_directory.save(
        where,
        base.module,
        features=base.features,
        rules=RULES,
        watched=base.manifest.fidi.features,
        reference=(base.manifest.reference, base.trained),
        training=base.manifest.training,
    )
    return model_directory.load(where)


def main() -> None:
    """Run the cell, print what was said of the rules and what healing was worth."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--seed", type=int, default=101)
    asked.add_argument("--policy", default="hedge", choices=get_args(HealPolicy))
    asked.add_argument("--folder", type=arguments.folder, default="study", help="what is trained")
    given = asked.parse_args()
    condition = CONDITIONS[0]
    mine = model(given.folder, given.seed)
    run = cells.run(
        Scenario.novel, condition, given.seed, given.folder, policy=given.policy, model=mine
    )
    for event in run.events:
        if event["event"]["action"] == "rule-disagrees":
            print(f"batch {event['reflexive']['offset'] // 100 + 1}: {event['message']}")
    found = figures(run, "novel", condition.name, given.policy, given.seed)
    print(
        f"log loss {found.log_loss:.4f}, frozen {found.frozen_log_loss:.4f}, "
        f"retrained {found.oracle_log_loss:.4f}; {found.heals} heals"
    )


if __name__ == "__main__":
    main()
