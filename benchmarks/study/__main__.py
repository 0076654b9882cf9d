"""`make study`: every scenario, every way labels come, several seeds; writes docs/results/.

python -m benchmarks.study [--seeds 101,102] [--scenarios translate,novel] [--policy hedge]
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import orjson

from benchmarks import arguments
from benchmarks.markdown import table
from benchmarks.study import plots
from benchmarks.study.cells import CONDITIONS, SCENARIOS
from benchmarks.study.figures import Figures
from benchmarks.study.work import Cell, work
from consumer.sections import HealPolicy

LATE = "known a batch late"  # a line of oracles

SEEDS = "101,102,103,104,105"


def main() -> None:
    """Run the cells, print and write the tables."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--seeds", default=SEEDS, type=arguments.whole_numbers)
    asked.add_argument("--scenarios", default=",".join(s.value for s in SCENARIOS))
    asked.add_argument("--policy", default="hedge", choices=get_args(HealPolicy))
    asked.add_argument("--processes", type=arguments.positive, default=2)
    asked.add_argument(
        "--folder", type=arguments.folder, default="study", help="models and oracles"
    )
    asked.add_argument("--out", type=Path, default=Path("docs/results") / "healing.md")
    given = asked.parse_args()
    seeds: list[int] = given.seeds
    known = [s.value for s in SCENARIOS]
    for name in given.scenarios.split(","):
        if name not in known:
            asked.error(f"--scenarios: no {name!r}; there are {', '.join(known)}")
    plots.note_seeds(given.folder, seeds)
    cells: list[Cell] = [
        (scenario, condition.name, seed, given.policy, given.folder)
        for seed in seeds
        for scenario in given.scenarios.split(",")
        for condition in CONDITIONS
    ]
    began = time.monotonic()
    found: list[Figures] = []
    # Not forked: torch's threads do not survive it.
    with multiprocessing.get_context("spawn").Pool(given.processes) as pool:
        # A seed's models are trained by whoever comes first: one cell of each seed goes ahead.
        first = [cells[n] for n in range(0, len(cells), len(cells) // len(seeds))]
        found += pool.map(work, first, chunksize=1)
        for one in pool.imap_unordered(work, [c for c in cells if c not in first], chunksize=1):
            found.append(one)
            print(
                f"{len(found)}/{len(cells)} {time.monotonic() - began:.0f} s: seed {one.seed} "
                f"{one.scenario}, {one.labels}: regret closed {one.regret_closed:.3f}",
                file=sys.stderr,
                flush=True,
            )
    text = "\n".join(_report(found, given.policy, seeds, time.monotonic() - began))
    given.out.write_text(text, encoding="utf-8")
    raw = orjson.dumps([one.plain() for one in found], option=orjson.OPT_INDENT_2)
    given.out.with_suffix(".json").write_bytes(raw)
    print(text)


def _report(found: list[Figures], policy: str, seeds: list[int], took_s: float) -> Iterator[str]:
    scenarios = list(dict.fromkeys(c.scenario for c in found))
    scenarios.sort(key=[s.value for s in SCENARIOS].index)

    def cells(scenario: str, labels: str) -> list[Figures]:
        return [c for c in found if (c.scenario, c.labels) == (scenario, labels)]

    def of_seeds(scenario: str) -> list[Figures]:
        return cells(scenario, CONDITIONS[0].name)

    def per_cell(say: Sequence[str], of: str) -> Iterator[str]:
        rows = [
            (c.name, *(_spread([float(getattr(f, of)) for f in cells(s, c.name)]) for s in say))
            for c in CONDITIONS
        ]
        told = (_spread([getattr(f, f"late_{of}") for f in of_seeds(s)]) for s in say)
        return table(["labels", *say], [*rows, (LATE, *told)])

    drifts = [s for s in scenarios if s in ("translate", "gradual", "novel", "recurring")]
    others = [s for s in scenarios if s not in drifts]
    yield "# Is healing worth having?"
    yield ""
    yield f"Policy `{policy}`, seeds {', '.join(map(str, seeds))}, mean ± sd over seeds where"
    yield "there are several;"
    yield "30 clean batches of 100 rows, then 120 of the scenario. Scores are from before their"
    yield "labels were known. `python -m benchmarks.study"
    yield f"--policy {policy} --seeds {','.join(map(str, seeds))}"
    yield f"--scenarios {','.join(scenarios)}`"
    yield f"({took_s / 60:.0f} min on {multiprocessing.cpu_count()} cores, {platform.machine()})."
    yield ""
    if drifts:
        yield "Regret closed: share of the gap between the frozen model and networks retrained on"
        yield "20,000 rows of each concept, in log loss. What is in force changes where a batch"
        yield "ends, or is cut by a change; the last line is of those networks, each a batch late."
        yield ""
        yield from per_cell(drifts, "regret_closed")
        yield "and in cost (missed fraud $5,000, false alarm $200, flagged from .038 on):"
        yield ""
        yield from per_cell(drifts, "cost_closed")
    if others:
        yield "Log loss where little can be won, or nothing should be lost (healed / frozen):"
        yield ""
        rows = [
            (
                c.name,
                *(
                    f"{_spread([f.log_loss for f in cells(s, c.name)])} / "
                    f"{np.mean([f.frozen_log_loss for f in cells(s, c.name)]):.3f}"
                    for s in others
                ),
            )
            for c in CONDITIONS
        ]
        yield from table(["labels", *others], rows)
    yield "Average precision over the last 30 batches (healed / frozen, mean):"
    yield ""
    rows = [
        (
            c.name,
            *(
                f"{np.mean([f.average_precision for f in cells(s, c.name)]):.3f} / "
                f"{np.mean([f.frozen_average_precision for f in cells(s, c.name)]):.3f}"
                for s in scenarios
            ),
        )
        for c in CONDITIONS
    ]
    late = (f"{np.mean([f.late_average_precision for f in of_seeds(s)]):.3f}" for s in scenarios)
    yield from table(["labels", *scenarios], [*rows, (LATE, *late)])
    worst = max(found, key=lambda f: f.harm)
    worse = sum(f.harm > 0.002 for f in found)
    yield f"Harm: of {len(found)} cells {worse} have a log loss more than .002 above the frozen"
    yield f"model's over the whole stream; the worst is {worst.scenario}, {worst.labels}, seed"
    yield f"{worst.seed}: {worst.harm:+.4f}."
    yield ""
    calm = [f for f in found if f.scenario in ("none", "prior")]
    if calm:
        dearest = max(calm, key=_dearer)
        dear = sum(_dearer(f) > 0.01 for f in calm)
        where = f"{dearest.scenario}, {dearest.labels}, seed {dearest.seed}"
        yield f"On none and prior {dear} of {len(calm)} cells cost over 1% more than the frozen"
        yield f"model; the worst is {where}: {_dearer(dearest):+.1%}."
        yield ""
    yield "Noticed (median batches from the change to the event that names it; all cells), regimes"
    yield "falsely said to begin in the 30 clean batches (per 1,000 batches), cells that said"
    yield "`cannot-heal`, and that said `signal-lost`:"
    yield ""
    rows = []
    for s in scenarios:
        mine = [f for f in found if f.scenario == s]
        noticed = [f.noticed for f in mine if f.noticed is not None]
        rows.append(
            (
                s,
                f"{np.median(noticed):g} ({len(noticed)} of {len(mine)})" if noticed else "-",
                f"{sum(f.false_alarms for f in mine) / len(mine) / 30 * 1000:.2f}",
                str(sum(f.abstained > 0 for f in mine)),
                str(sum(f.signal_lost > 0 for f in mine)),
            )
        )
    yield from table(["scenario", "noticed", "false alarms", "cannot heal", "signal lost"], rows)


def _dearer(found: Figures) -> float:
    """Cost over the frozen model's, as a share of it."""
    return found.cost / found.frozen_cost - 1


def _spread(values: Sequence[float]) -> str:
    spread = f" ± {np.std(values):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"


if __name__ == "__main__":
    main()
