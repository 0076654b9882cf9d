"""Streams that wander, turn and grow while labels lag behind: does healing harm there?

    python -m benchmarks.study.wandering [--seeds 1,2,3] [--streams walk,season] [--late 500,3000]

Eight features; 4,000 rows to train on, 12,000 to score. What makes a row fraud stays as it is but
in `concept`: the frozen model is never far from right, and labels tell of where the stream was.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import arguments
from benchmarks.markdown import table
from benchmarks.study import deployed
from benchmarks.study.figures import log_losses
from consumer.columns import Float64
from consumer.rows import Rows

FEATURES, TRAINED, SCORED, SPACING_MS = 8, 4_000, 12_000, 50


@dataclass(frozen=True, slots=True)
class Moves:
    """What a stream does to rows that are standard normal: (rows, features) each."""

    shift: Float64
    plane: Float64  # of what makes a row fraud


def _walk(rng: np.random.Generator, plane: Float64) -> Moves:
    """Three features go anywhere, by .15 sd a hundred rows."""
    steps = rng.normal(0, 0.15, ((TRAINED + SCORED) // 100, 3)).cumsum(axis=0)
    return _moved(np.repeat(steps, 100, axis=0), plane)


def _season(rng: np.random.Generator, plane: Float64) -> Moves:
    """Four features swing by 2 sd, once in as many rows as training saw."""
    return _moved(_swing(rng, 4, 2.0, 4_000), plane)


def _slow_season(rng: np.random.Generator, plane: Float64) -> Moves:
    """Three features swing by 3 sd; training saw a quarter of it."""
    return _moved(_swing(rng, 3, 3.0, 16_000), plane)


def _growth(rng: np.random.Generator, plane: Float64) -> Moves:
    """Two features grow, by 4 sd in all: accounts age, windows fill."""
    far = np.linspace(0, 4, TRAINED + SCORED)[:, None] * rng.choice([-1.0, 1.0], 2)
    return _moved(far, plane)


def _concept(rng: np.random.Generator, plane: Float64) -> Moves:
    """Features stay; what makes a row fraud turns by a right angle."""
    other = rng.standard_normal(FEATURES)
    other -= other @ plane * plane
    other /= np.linalg.norm(other)
    turn = np.linspace(0, np.pi / 2, TRAINED + SCORED)[:, None]
    return Moves(np.zeros((len(turn), FEATURES)), np.cos(turn) * plane + np.sin(turn) * other)


def _swing(rng: np.random.Generator, features: int, far: float, period: int) -> Float64:
    at = 2 * np.pi * np.arange(TRAINED + SCORED)[:, None] / period
    found: Float64 = far * np.sin(at + rng.uniform(0, 2 * np.pi, features))
    return found


def _moved(some: Float64, plane: Float64) -> Moves:
    shift = np.zeros((len(some), FEATURES))
    shift[:, : some.shape[1]] = some
    return Moves(shift, np.broadcast_to(plane, shift.shape))


STREAMS: dict[str, Callable[[np.random.Generator, Float64], Moves]] = {
    "walk": _walk,
    "season": _season,
    "slow-season": _slow_season,
    "growth": _growth,
    "concept": _concept,
}


@dataclass(frozen=True, slots=True)
class Ran:
    """Log losses of one stream's scored rows."""

    stream: str
    late: int  # rows between a row and its label
    seed: int
    healed: float
    frozen: float
    bayes: float  # of who knows how likely each row was to be fraud
    said: dict[str, int]  # how often, by action


def run(stream: str, late: int, seed: int) -> Ran:
    """Train on the first rows, then score the others as they come."""
    rng = np.random.default_rng([seed, list(STREAMS).index(stream)])
    plane = rng.standard_normal(FEATURES)
    plane /= np.linalg.norm(plane)
    moves = STREAMS[stream](rng, plane)
    x = rng.standard_normal((TRAINED + SCORED, FEATURES)) + moves.shift
    likely = 1 / (1 + np.exp(2.5 - 2 * (x * moves.plane).sum(axis=1)))
    y = (rng.random(len(x)) < likely).astype(np.int8)
    time = SPACING_MS * np.arange(len(x), dtype=np.int64)
    names = tuple(f"f{n}" for n in range(FEATURES))
    kept = x.astype(np.float32)
    found = deployed.run(
        Rows(names, kept[:TRAINED], y[:TRAINED].astype(np.float32)),
        (kept[TRAINED:], y[TRAINED:], time[TRAINED:]),
        np.ones(SCORED, np.bool_),
        seed=seed,
        policy="hedge",
        delay_ms=late * SPACING_MS,
    )
    losses = (log_losses(p, y[TRAINED:]) for p in (found.healed, found.frozen, likely[TRAINED:]))
    healed, frozen, bayes = (float(each.mean()) for each in losses)
    said = {action: len(at) for action, at in found.said.items()}
    return Ran(stream, late, seed, healed, frozen, bayes, said)


def _task(cell: tuple[str, int, int]) -> Ran:
    return run(*cell)


def main() -> None:
    """Run, print and write."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--seeds", default="1,2,3", type=arguments.whole_numbers)
    asked.add_argument("--streams", default=",".join(STREAMS))
    asked.add_argument("--late", default="500,3000", type=arguments.whole_numbers, help="rows")
    asked.add_argument("--processes", type=arguments.positive, default=2)
    asked.add_argument("--out", type=Path, default=Path("docs/results/wandering.md"))
    given = asked.parse_args()
    names = given.streams.split(",")
    for name in names:
        if name not in STREAMS:
            asked.error(f"--streams: no {name!r}; there are {', '.join(STREAMS)}")
    if not given.out.parent.is_dir():
        asked.error(f"--out: no folder {given.out.parent}")
    cells = [(name, late, seed) for name in names for late in given.late for seed in given.seeds]
    found: list[Ran] = []
    # Not forked: torch's threads do not survive it.
    with multiprocessing.get_context("spawn").Pool(given.processes) as pool:
        for one in pool.imap(_task, cells, chunksize=1):
            found.append(one)
            print(
                f"{one.stream}, {one.late} rows late, seed {one.seed}: healed {one.healed:.4f}, "
                f"frozen {one.frozen:.4f} {one.said}",
                flush=True,
            )
    text = "\n".join(_report(found, given.seeds))
    given.out.write_text(text, encoding="utf-8")
    print(text)


def _report(found: list[Ran], seeds: list[int]) -> Iterator[str]:
    yield "# Streams that wander while labels lag behind"
    yield ""
    late = ",".join(map(str, dict.fromkeys(one.late for one in found)))
    asked = f"--late {late} --seeds {','.join(map(str, seeds))}"
    yield f"    python -m benchmarks.study.wandering {asked}"
    yield ""
    yield "Eight features, 4,000 rows to train on, 12,000 scored before their labels come. Log"
    yield "loss, mean ± sd over seeds. Bayes: of who knows how likely each row was. Harm: how far"
    yield "the healed log loss lies above the frozen model's, of the worst seed."
    yield ""
    rows = []
    for stream, rows_late in dict.fromkeys((one.stream, one.late) for one in found):
        cells = [one for one in found if (one.stream, one.late) == (stream, rows_late)]
        harm = max(one.healed - one.frozen for one in cells)
        healed, frozen, bayes = (
            [getattr(one, of) for one in cells] for of in ("healed", "frozen", "bayes")
        )
        rows.append(
            (stream, f"{rows_late:,}", *map(_spread, (healed, frozen, bayes)), f"{harm:+.4f}")
        )
    yield from table(["stream", "rows late", "healed", "frozen", "Bayes", "harm"], rows)


def _spread(values: list[float]) -> str:
    return f"{np.mean(values):.4f} ± {np.std(values):.4f}"


if __name__ == "__main__":
    main()
