"""Our policy against learners that adapt by themselves, on streams of river's.

    python -m benchmarks.study.against_river [--streams Agrawal,SEA] [--seeds 1,2]
        [--delay-batches 0]

Everybody learns from a stream's first part; then each row is predicted before its label comes.
"""

from __future__ import annotations

import argparse
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from river import compose, forest, linear_model, preprocessing, tree

from benchmarks import arguments
from benchmarks.markdown import table
from benchmarks.study import deployed
from benchmarks.study.river_streams import STREAMS, Stream
from consumer.columns import Float64, Int8
from consumer.rows import Rows
from producer_sim.rows import SPACING_MS
from producer_sim.stream import BATCH_ROWS

LEAST = 1e-3  # probabilities are no smaller, for anybody: trees say 0 and 1
START_MS = 1_735_689_600_000
PEERS: dict[str, Callable[[int], Any]] = {
    "ARF": lambda seed: forest.ARFClassifier(seed=seed),
    "HAT": lambda seed: tree.HoeffdingAdaptiveTreeClassifier(seed=seed),
    "logistic": lambda _: compose.Pipeline(
        preprocessing.StandardScaler(), linear_model.LogisticRegression()
    ),
}
NAMES = ("hedge", "frozen", *PEERS)


@dataclass(frozen=True, slots=True)
class Judged:
    """Of one stream and seed, by who predicted."""

    log_loss: dict[str, float]
    accuracy: dict[str, float]


def main() -> None:
    """Run, print and write the tables."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--streams", default=",".join(STREAMS))
    asked.add_argument("--seeds", default="1,2", type=arguments.whole_numbers)
    asked.add_argument(
        "--delay-batches",
        default="0,5",
        type=arguments.whole_numbers,
        help="each a table of its own",
    )
    asked.add_argument("--out", type=Path, default=Path("docs/results/river.md"))
    given = asked.parse_args()
    names = given.streams.split(",")
    unknown = sorted(set(names) - set(STREAMS))
    if unknown:
        asked.error(f"no stream {', '.join(unknown)}; there are {', '.join(STREAMS)}")
    found: dict[tuple[str, int], list[Judged]] = {}
    rows: dict[str, tuple[int, int]] = {}
    for delay in given.delay_batches:
        for name in names:
            for seed in given.seeds:
                began = time.monotonic()
                stream = STREAMS[name](seed)
                rows[name] = stream.first, len(stream.y) - stream.first
                judged = judge(stream, predictions(stream, seed, delay * BATCH_ROWS))
                found.setdefault((name, delay), []).append(judged)
                print(
                    f"{name}, {delay} late, seed {seed}:",
                    *(f"{n} {judged.log_loss[n]:.3f}/{judged.accuracy[n]:.3f}" for n in NAMES),
                    f"({time.monotonic() - began:.0f} s)",
                    flush=True,
                )
    text = "\n".join(_report(found, rows, given))
    given.out.write_text(text, encoding="utf-8")
    print(text)


def predictions(stream: Stream, seed: int, delay_rows: int) -> dict[str, Float64]:
    """Probabilities of the rows that are judged, by who predicted."""
    first, y = stream.first, stream.y
    at = START_MS + SPACING_MS * np.arange(len(y) - first, dtype=np.int64)
    ours = deployed.run(
        Rows(stream.names, stream.x[:first], y[:first].astype(np.float32)),
        (stream.x[first:], y[first:], at),
        np.ones(len(at), bool),
        seed=seed,
        policy="hedge",
        delay_ms=delay_rows * SPACING_MS,
    )
    theirs = {name: prequential(make(seed), stream, delay_rows) for name, make in PEERS.items()}
    return {"hedge": ours.healed, "frozen": ours.frozen, **theirs}


def prequential(model: Any, stream: Stream, delay_rows: int) -> Float64:
    """Of a model of river's, which learns a label as soon as it is there."""
    pairs = [
        (dict(zip(stream.names, x, strict=True)), y)
        for x, y in zip(stream.x.astype(np.float64).tolist(), stream.y.tolist(), strict=True)
    ]
    for x, y in pairs[: stream.first]:
        model.learn_one(x, y)
    found = []
    waiting: deque[tuple[dict[str, float], int]] = deque()
    for x, y in pairs[stream.first :]:
        found.append(model.predict_proba_one(x).get(1, 0.0))
        waiting.append((x, y))
        if len(waiting) > delay_rows:
            model.learn_one(*waiting.popleft())
    return np.array(found)


def judge(stream: Stream, predicted: dict[str, Float64]) -> Judged:
    """Log loss and accuracy of everybody."""
    y = stream.y[stream.first :]
    return Judged(
        {name: log_loss(p, y) for name, p in predicted.items()},
        {name: float(((p >= 0.5) == (y == 1)).mean()) for name, p in predicted.items()},
    )


def log_loss(p: Float64, y: Int8) -> float:
    """Mean, of probabilities no nearer to 0 and 1 than `LEAST`."""
    p = np.clip(p, LEAST, 1 - LEAST)
    return float(-np.where(y == 1, np.log(p), np.log1p(-p)).mean())


def _report(
    found: dict[tuple[str, int], list[Judged]],
    rows: dict[str, tuple[int, int]],
    given: argparse.Namespace,
) -> Iterator[str]:
    yield "# Against learners that adapt by themselves"
    yield ""
    yield f"`python -m benchmarks.study.against_river --streams {','.join(rows)}"
    yield f"--seeds {','.join(map(str, given.seeds))}"
    yield f"--delay-batches {','.join(map(str, given.delay_batches))}`,"
    yield f"river {version('river')} with its defaults: ARF is `ARFClassifier`, HAT"
    yield "`HoeffdingAdaptiveTreeClassifier`, logistic `StandardScaler | LogisticRegression`."
    yield "Same rows, order and labels for all; everybody learns from the first rows of a stream,"
    yield "then predicts each of the others before its label comes. `hedge` heals at the end of a"
    yield "batch of 100, river's learn row by row. Probabilities are clipped to"
    yield f"[{LEAST:g}, {1 - LEAST:g}]; mean ± sd over seeds, the best of a row in bold."
    yield ""
    for name, (first, judged) in rows.items():
        yield f"- {name} ({first:,} rows first, {judged:,} judged): {STREAMS[name].__doc__}"
    yield ""
    for delay in dict.fromkeys(delay for _, delay in found):
        when = f"{delay} batches later" if delay else "at once"
        for figure, better in (("log_loss", min), ("accuracy", max)):
            yield f"{figure.replace('_', ' ').capitalize()}, labels {when}:"
            yield ""
            yield from table(
                ["stream", *NAMES],
                [
                    (name, *_bold([[getattr(j, figure)[n] for j in found[name, delay]]
                                   for n in NAMES], better))
                    for name in rows
                ],
            )  # fmt: skip


def _bold(
    values: Sequence[Sequence[float]], better: Callable[[Sequence[float]], float]
) -> list[str]:
    means = [float(np.mean(each)) for each in values]
    best = better(means)
    return [
        (f"**{mean:.3f}**" if mean == best else f"{mean:.3f}")
        + (f" ± {np.std(each):.3f}" if len(each) > 1 else "")
        for mean, each in zip(means, values, strict=True)
    ]


if __name__ == "__main__":
    main()
