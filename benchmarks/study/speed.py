"""Healing while the stream runs faster than healing can follow.

    python -m benchmarks.study.speed [--seeds 101,102,103] [--folder study] [--out FILE]

At 1x a stream lasts as long as scoring and healing take one after the other; then ten and a hundred
times less, healed on a worker thread of the lowest priority while scoring goes on. A score is made
with what is in force when its row comes: heals that are late help fewer rows.

After Alfarra et al., "Evaluation of test-time adaptation under computational time constraints"
(2024).
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks import arguments
from benchmarks.markdown import table
from benchmarks.study.cells import CONDITIONS, Condition, run
from benchmarks.study.figures import Figures, figures
from producer_sim.scenarios import Scenario

SPEEDS = (1, 10, 100)
SCENARIOS = (Scenario.translate, Scenario.gradual, Scenario.novel, Scenario.recurring)
AT_ONCE = CONDITIONS[0]


def main() -> None:
    """Run and print."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--seeds", default="101,102,103", type=arguments.whole_numbers)
    asked.add_argument("--folder", default="study", type=arguments.folder)
    asked.add_argument("--out", type=Path, default=Path("docs/results/speed.md"))
    given = asked.parse_args()
    found: dict[tuple[Scenario, int], list[tuple[Figures, float]]] = {}
    for scenario in SCENARIOS:
        for seed in given.seeds:
            run(scenario, AT_ONCE, seed, given.folder)  # what it needs is made, and warm
            inline, alone_s = _timed(scenario, AT_ONCE, seed, given.folder, None)
            found.setdefault((scenario, 0), []).append((inline, 1.0))
            for speed in SPEEDS:
                beside, took_s = _timed(scenario, AT_ONCE, seed, given.folder, alone_s / speed)
                found.setdefault((scenario, speed), []).append((beside, alone_s / took_s))
    text = "\n".join(_report(found, ",".join(map(str, given.seeds))))
    given.out.write_text(text, encoding="utf-8")
    print(text)


def _timed(
    scenario: Scenario, condition: Condition, seed: int, folder: Path, lasting_s: float | None
) -> tuple[Figures, float]:
    began = time.monotonic()
    ran = run(scenario, condition, seed, folder, lasting_s=lasting_s)
    took_s = time.monotonic() - began
    print(f"{scenario.value}, seed {seed}: {took_s:.1f} s", flush=True)
    return figures(ran, scenario.value, condition.name, "hedge", seed), took_s


def _report(
    found: dict[tuple[Scenario, int], list[tuple[Figures, float]]], seeds: str
) -> Iterator[str]:
    yield "# Healing a stream that is faster than healing"
    yield ""
    yield f"Policy `hedge`, labels {AT_ONCE.name}, seeds {seeds}, mean ± sd. Regret closed: share"
    yield "of the gap between the frozen model and retrained networks, in log loss. At 1x the"
    yield "stream lasts as long as scoring and healing take one after the other; `reached`: how"
    yield "many times faster it was in fact, as scoring itself takes its time. `inline`: scoring"
    yield f"waits for heals. `python -m benchmarks.study.speed --seeds {seeds}`"
    yield f"({multiprocessing.cpu_count()} cores, {platform.machine()})."
    yield ""
    rows = []
    for (scenario, speed), cells in found.items():
        closed = [one.regret_closed for one, _ in cells]
        rows.append(
            (
                scenario.value,
                f"{speed}x" if speed else "inline",
                "-" if not speed else f"{np.mean([reached for _, reached in cells]):.1f}x",
                f"{np.mean([one.heals for one, _ in cells]):.0f}",
                f"{np.mean(closed):.3f} ± {np.std(closed):.3f}",
                f"{max(one.harm for one, _ in cells):+.4f}",
            )
        )
    yield from table(["scenario", "speed", "reached", "heals", "regret closed", "worst harm"], rows)


if __name__ == "__main__":
    main()
