"""What exactly-once costs against at-least-once, and how fast a restart has its rows back.

    make delivery

The same transactions, model and settings, each run a process of its own, kinds in turns. A run's
time is from its first commit with transactions to the one with the last, as checkpoints are dated:
start, rebalance and stop are no part of it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import comb
from pathlib import Path
from statistics import median

import orjson

from benchmarks import arguments, processes, runs
from benchmarks.markdown import table
from consumer import model_directory
from consumer.checkpoints import Checkpoints
from consumer.kafka.reader import Reader, read_all
from consumer.kafka.sink import Sink
from consumer.pipeline import Pipeline
from consumer.restore import RegistryTopic
from consumer.settings import Settings, load
from tests.broker import real_broker

OUT = Path(__file__).parent.parent / "docs" / "results" / "delivery.md"
ONCE, AT_LEAST = "exactly_once", "at_least_once"
INTERVALS_MS = (100, 1_000)
LABELLED = 0.1
RESTORES = 5  # each takes a second or two


@dataclass(frozen=True, slots=True)
class Speed:
    """One run between its first and its last commit."""

    rows: int
    seconds: float
    commits: int

    @property
    def rate(self) -> float:
        """Transactions a second."""
        return self.rows / self.seconds


def prepare(bootstrap: str, folder: Path, name: str, rows: int) -> None:
    """A model, and a stream in which nothing drifts: no heal comes between two runs."""
    file = folder / "train.csv"
    runs.command(
        *("producer_sim", "stream", "--scenario", "none", "--rows", rows, "--train-out", file),
        *("--label-fraction", LABELLED, "--label-delay", "1m", "--bootstrap-servers", bootstrap),
        *("--transactions-topic", f"{name}-transactions", "--labels-topic", f"{name}-labels"),
    )
    runs.command("consumer", "train", "--data", file, "--out", folder / "model")


def settings(bootstrap: str, name: str, of: str, **given: object) -> Settings:
    """Of one run; `section__key=value` for any other setting."""
    flags = {
        "kafka.bootstrap_servers": bootstrap,
        "application_id": f"{name}-{of}",
        "input.transactions.topic": f"{name}-transactions",
        "input.labels.topic": f"{name}-labels",
    }
    return load(None, {**flags, **{key.replace("__", "."): each for key, each in given.items()}})


def speed(found: Settings, folder: Path) -> Speed:
    """Run to the end, then ask the checkpoints how long it took."""
    log = folder / f"{found.application_id}.log"
    processes.watch(found, folder / "model", log, *flags(found))
    topic = found.input.transactions.topic
    commits = [
        (record.timestamp_ms, orjson.loads(record.value or b"{}")["positions"].get(topic, 0))
        for record in read_all(found.kafka, found.topic("checkpoints"))
    ]
    # A commit before the first row would put the wait for the first fetch into the time.
    commits = [commit for commit in commits if commit[1] > 0]
    last = next(n for n, (_, rows) in enumerate(commits) if rows == commits[-1][1])
    if last == 0:
        raise SystemExit("--rows: one commit took all of them, nothing to time: give more")
    (start_ms, before), (end_ms, after) = commits[0], commits[last]
    return Speed(after - before, (end_ms - start_ms) / 1000, last)


def flags(found: Settings) -> Iterator[str]:
    """What these runs set that others leave alone."""
    yield from ("--set", f"delivery={found.delivery}")
    yield from ("--set", f"commit.interval_ms={found.commit.interval_ms}")
    if found.join.cache_dir is not None:
        yield from ("--set", f"join.cache_dir={found.join.cache_dir}")


def in_turns(
    bootstrap: str, folder: Path, name: str, repetitions: int
) -> dict[tuple[int, str], list[Speed]]:
    """Each kind so many times, one after the other; every second round the other way."""
    kinds = list(product(INTERVALS_MS, (ONCE, AT_LEAST)))
    found: dict[tuple[int, str], list[Speed]] = {kind: [] for kind in kinds}
    for number in range(repetitions):
        for interval_ms, delivery in kinds if number % 2 else reversed(kinds):
            of = f"{delivery.replace('_', '-')}-{interval_ms}-{number}"
            given = {"delivery": delivery, "commit__interval_ms": interval_ms}
            run = speed(settings(bootstrap, name, of, **given), folder)
            found[interval_ms, delivery].append(run)
            print(f"{of}: {run.rate:,.0f} transactions a second", flush=True)
    return found


def restored(found: Settings, folder: Path) -> tuple[int, float]:
    """Rows that wait for labels after a restart, and the seconds until they are there."""
    model = model_directory.load(folder / "model")
    checkpoints = Checkpoints(found, model, Sink(found))  # the sink ends what a dead one left open
    registry = RegistryTopic(found, model)
    pipeline = Pipeline(found, model, restored=registry.registry)
    pipeline.start(registry.deployed, 0)
    with Reader(found.kafka) as reader:
        checkpoint, _ = checkpoints.read(reader, 0, {})
        assert checkpoint is not None
        begun = time.perf_counter()
        back = checkpoints.restored(reader, 0, checkpoint, registry)
        pipeline.assign([0], 0, {0: back})
        seconds = time.perf_counter() - begun
    pipeline.healing.close(1.0)
    registry.close()
    return len(pipeline.joins([0])[0]), seconds


def restarts(bootstrap: str, folder: Path, name: str, rows: int) -> Iterator[list[str]]:
    """Lines of a table: after SIGKILL half-way, and at the end, with and without a cache."""
    plain = settings(bootstrap, name, "restarts")
    cached = settings(bootstrap, name, "restarts", join__cache_dir=folder / "cache")
    log = folder / "restarts.log"
    processes.watch(plain, folder / "model", log, *flags(plain), kill_at=rows // 2)
    yield _restart("changelog, after SIGKILL half-way", plain, folder)
    processes.watch(cached, folder / "model", log, *flags(cached))
    yield _restart("changelog, at the end", plain, folder)
    yield _restart("cache file, at the end", cached, folder)


def _restart(what: str, found: Settings, folder: Path) -> list[str]:
    several = [restored(found, folder) for _ in range(RESTORES)]
    rates = [rows / seconds for rows, seconds in several]
    middle = median(seconds for _, seconds in several)
    return [what, f"{several[0][0]:,}", f"{middle:.2f}", f"{median(rates):,.0f}", _span(rates)]


def costs(found: dict[tuple[int, str], list[Speed]]) -> Iterator[list[str]]:
    """Lines of a table, by commit interval: ratios are of runs of the same round."""
    for interval_ms in INTERVALS_MS:
        once, at_least = found[interval_ms, ONCE], found[interval_ms, AT_LEAST]
        pairs = list(zip(once, at_least, strict=True))
        ratios = [one.rate / other.rate for one, other in pairs]
        a_commit = [1000 * (o.seconds - a.seconds) / o.commits for o, a in pairs]
        yield [
            f"{interval_ms} ms",
            *(f"{median(run.rate for run in kind):,.0f}" for kind in (once, at_least)),
            *(f"{median(r.rows / r.commits for r in kind):,.0f}" for kind in (once, at_least)),
            f"**{median(ratios):.3f}**",
            "{:.3f} to {:.3f}".format(*interval(ratios)),
            "{:+.1f} ({:+.1f} to {:+.1f})".format(median(a_commit), *interval(a_commit)),
        ]


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Holds the true median 19 times of 20, from 6 values on; of fewer, all of them.

    That lies below the k-th of n as often as fewer than k of n coins fall on one side.

    >>> interval([3, 1, 2, 6, 4, 5])
    (1, 6)
    >>> interval(range(1, 13))
    (3, 10)
    """
    ordered, n, k = sorted(values), len(values), 1
    while 2 * sum(comb(n, i) for i in range(k + 1)) <= 0.05 * 2**n:
        k += 1
    return ordered[k - 1], ordered[-k]


def _span(values: Sequence[float]) -> str:
    return f"{min(values):,.0f}–{max(values):,.0f}"


def main() -> None:
    """Run, print, write."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.delivery")
    options.add_argument(
        "--rows",
        type=arguments.positive,
        default=100_000,
        help="transactions; default 100,000",
    )
    options.add_argument(
        "--repetitions", type=arguments.positive, default=12, help="of each kind; default 12"
    )
    options.add_argument("--out", type=Path, default=OUT, help="the report; default in docs/")
    given = options.parse_args()
    about, name = processes.machine(), f"delivery-{uuid.uuid4().hex[:8]}"
    with real_broker() as broker, tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        prepare(broker.bootstrap, folder, name, given.rows)
        found = in_turns(broker.bootstrap, folder, name, given.repetitions)
        again = list(restarts(broker.bootstrap, folder, name, given.rows))
    text = "\n".join(
        [
            "# Exactly once against at least once, and restarts",
            "",
            "    make delivery",
            "",
            f"Taken on {about}.",
            "",
            f"{given.rows:,} transactions published before, {LABELLED:.0%} of them labelled a "
            "minute later, one partition, no drift and so no heals. "
            f"{given.repetitions} rounds, the kinds in turns; a run's time is from its first "
            "commit of transactions to that of the last one.",
            "",
            "## Throughput",
            "",
            *table(
                [
                    *("commits every", "exactly once, rows/s", "at least once, rows/s"),
                    *("rows a commit", "rows a commit", "ratio", "its interval"),
                    "ms a commit more",
                ],
                list(costs(found)),
            ),
            "All but the last two are medians; the ratio is that of two runs of the same round. "
            "The intervals hold the median 19 times of 20. The last column is the time that "
            "exactly once took longer, divided by its commits. Behind a backlog a commit comes "
            "where a turn of the loop ends, at 50,000 rows at the latest (`commit.max_rows`). "
            "Where the rows a commit are the same on both lines, the two settings have not been "
            "told apart: a turn of the loop took longer than either.",
            "",
            "## Restart",
            "",
            "From knowing the checkpoint until the rows that wait for labels are in memory, "
            f"median of {RESTORES} and their span:",
            "",
            *table(["read from", "rows held", "seconds", "rows/s", "span"], again),
        ]
    )
    print(text)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(text)


if __name__ == "__main__":
    main()
