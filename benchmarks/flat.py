"""What should not grow: the cost of a message by features, partitions, rows held and time.

    make flat

    python -m benchmarks.flat --only features,soak --soak-rows 100000000

Processor time a message of the whole system (exactly once, a tenth labelled), as `run --profile`
tells it; the join's own time by rows held; generated columns through the stages for long; from
starting a process to its first score; rows a second of a restart after SIGKILL; and a network of a
million parameters.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition

from benchmarks import arguments, delivery, join, live, processes, soak, streams, wide_network
from benchmarks.live import HERE, Run
from benchmarks.markdown import spread, table
from consumer.join import Join
from consumer.kafka import client
from consumer.settings import Settings
from tests.broker import real_broker

OUT = HERE / "docs" / "results" / "flat.md"
FEATURES = (10, 30, 100, 300)
PARTITIONS = (1, 4, 16, 64)
HELD = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
TRAINED = 5_000
EVENT_RATE = 20_000
MILLION_WIDE = 990  # 10 x 990 + 990 x 990 + the adapter's 2 x 16 x 990: a million
# A message of 300 features is 3 kB: of so many the sum of features is held to this.
MOST_NUMBERS = 6_000_000
MOST_S = 900
START_WITHIN_S = 60


@dataclass(frozen=True, slots=True)
class Bench:
    """Where it runs, and how much of it."""

    bootstrap: str
    folder: Path
    name: str
    rows: int
    repetitions: int
    held: int
    soak_rows: int
    restart_rows: int


Section = Callable[[Bench], Iterator[str]]


def by_features(bench: Bench) -> Iterator[str]:
    """The whole system at each width, in turns."""
    names = {count: f"{bench.name}-{count}-features" for count in FEATURES}
    rows = {count: min(bench.rows, MOST_NUMBERS // count) for count in FEATURES}
    size = {}
    for count, name in names.items():
        model(bench, name, count)
        size[count] = filled(bench, name, rows[count], count)
    found = in_turns(bench, names, rows)
    yield "## By features"
    yield ""
    lines = [
        [f"{count}", f"{size[count]:,.0f}", *costs(several, found[FEATURES[0]])]
        for count, several in found.items()
    ]
    yield from table(["features", "bytes a message", *COSTS], lines)


def by_partitions(bench: Bench) -> Iterator[str]:
    """The whole system over so many partitions, one process, in turns."""
    names = {count: f"{bench.name}-{count}-partitions" for count in PARTITIONS}
    for count, name in names.items():
        model(bench, name, FEATURES[0])
        filled(bench, name, bench.rows, FEATURES[0], count)
    found = in_turns(bench, names, dict.fromkeys(PARTITIONS, bench.rows))
    yield "## By partitions, one process"
    yield ""
    lines = [[f"{n}", *costs(several, found[PARTITIONS[0]])] for n, several in found.items()]
    yield from table(["partitions", *COSTS], lines)


def by_rows_held(bench: Bench) -> Iterator[str]:
    """The join alone: median µs a row to keep one and to find one by its label."""
    lines = []
    for held in (size for size in HELD if size <= bench.held):
        add, match = join.seconds(Join, held)
        lines.append([f"{held:,}", f"{1e6 * add:.2f}", f"{1e6 * match:.2f}"])
        print(f"held {held:,}: {1e6 * add:.2f} and {1e6 * match:.2f} us a row", flush=True)
    yield "## By rows that wait for labels"
    yield ""
    yield from table(["rows held", "µs to keep one", "µs to join one"], lines)


def over_time(bench: Bench) -> Iterator[str]:
    """Columns through the stages, without Kafka: at a million rows, and at the end."""
    name = f"{bench.name}-soak"
    folder = model(bench, name, FEATURES[0])
    found = soak.soak(folder, bench.soak_rows, FEATURES[0])
    marks = sorted({min(1_000_000, bench.soak_rows), bench.soak_rows // 2, bench.soak_rows})
    first_us, first_mb = found.at(marks[0])
    lines = []
    for mark in marks:
        us, resident_mb = found.at(mark)
        about = [f"{us:.2f}", f"{us / first_us:.3f}", f"{resident_mb:,.0f}"]
        lines.append([f"{mark:,}", *about, f"{resident_mb - first_mb:+,.0f}"])
    yield "## Over time"
    yield ""
    yield (
        f"{bench.soak_rows:,} generated rows through the stages without Kafka, one partition, a "
        f"tenth labelled, {soak.EVENT_RATE:,} a second of event time and at most "
        f"{soak.HEALS_AN_HOUR} heals an hour of it, inline. Processor time is the median of the "
        f"{soak.WINDOW} chunks of {streams.CHUNK:,} rows before each mark; of the whole run, heals "
        f"and all, it is {found.mean_us:.2f} µs a row."
    )
    yield ""
    yield from table(["rows", "µs a row", "of the first", "MB resident", "more"], lines)


def starting(bench: Bench) -> Iterator[str]:
    """From starting the process to the first score that a read-committed reader has."""
    name = f"{bench.name}-start"
    model(bench, name, FEATURES[0])
    filled(bench, name, 1_000, FEATURES[0])
    seconds = []
    for number in range(bench.repetitions):
        found = streams.settings(bench.bootstrap, name, f"run-{number}")
        begun = time.perf_counter()
        log = bench.folder / f"{found.application_id}.log"
        with live.started(found, bench.folder / name, log) as consumer:
            _first_score(found)
            seconds.append(time.perf_counter() - begun)
            consumer.stop()
    print(f"first score after {spread(seconds, '.2f')} s", flush=True)
    yield "## From start to first score"
    yield ""
    yield (
        f"{spread(seconds, '.2f')} s, {bench.repetitions} times: a new application on topics that "
        "wait, importing torch and making its topics included."
    )
    yield ""


def restarting(bench: Bench) -> Iterator[str]:
    """Rows a second that a restart has back; as in delivery.md, over more rows."""
    folder, name = bench.folder / "restart", f"{bench.name}-restart"
    folder.mkdir()
    delivery.prepare(bench.bootstrap, folder, name, bench.restart_rows)
    lines = list(delivery.restarts(bench.bootstrap, folder, name, bench.restart_rows))
    yield "## A restart after a crash"
    yield ""
    yield from table(["read from", "rows held", "seconds", "rows/s", "span"], lines)


def wide(bench: Bench) -> Iterator[str]:
    """A user's own network of a million parameters beside ours, in turns."""
    ours, theirs = f"{bench.name}-ours", f"{bench.name}-wide"
    rows = max(1, bench.rows // 5)
    model(bench, ours, FEATURES[0])
    trained = streams.whole(streams.columns(TRAINED, FEATURES[0]))
    size = wide_network.save(bench.folder / theirs, trained, MILLION_WIDE)
    for name in (ours, theirs):
        filled(bench, name, rows, FEATURES[0])
    found = in_turns(bench, {0: ours, 1: theirs}, {0: rows, 1: rows})
    yield "## A large network"
    yield ""
    lines = [
        [what, *costs(found[at], found[0])]
        for at, what in enumerate(("ours, 13,250 parameters", f"own module, {size:,} parameters"))
    ]
    yield from table(["", *COSTS], lines)
    yield 'On the CPU. Where there is a GPU, `device = "cuda"` has the network compute on it.'
    yield ""


SECTIONS: dict[str, Section] = {
    "features": by_features,
    "partitions": by_partitions,
    "held": by_rows_held,
    "soak": over_time,
    "start": starting,
    "restart": restarting,
    "wide": wide,
}
COSTS = ("messages/s", "µs of processor a message", "of the first")


def costs(several: list[Run], first: list[Run]) -> list[str]:
    """Of a line: ratios are of runs of the same round."""
    ratios = [run.cpu_us / one.cpu_us for run, one in zip(several, first, strict=True)]
    return [
        spread([run.rate for run in several], ",.0f"),
        spread([run.cpu_us for run in several], ".1f"),
        spread(ratios, ".2f"),
    ]


def model(bench: Bench, name: str, features: int) -> Path:
    """A model of so many features, in a folder of that name."""
    folder = bench.folder / f"{name}-files"
    folder.mkdir()
    made = streams.model(folder, streams.columns(TRAINED, features, seed=1))
    return made.rename(bench.folder / name)


def filled(bench: Bench, name: str, rows: int, features: int, partitions: int = 1) -> float:
    """Topics with so many rows; bytes a message."""
    some = streams.paced(streams.columns(rows, features), EVENT_RATE, streams.START_MS)
    found = streams.settings(bench.bootstrap, name, "input")
    return streams.publish(found, some, partitions=partitions)


def in_turns(bench: Bench, names: dict[int, str], rows: dict[int, int]) -> dict[int, list[Run]]:
    """Each once a round, every second round the other way; output counted."""
    found: dict[int, list[Run]] = {at: [] for at in names}
    for number in range(bench.repetitions):
        for at in names if number % 2 == 0 else reversed(names):
            run = streams.settings(bench.bootstrap, names[at], f"run-{number}")
            log = bench.folder / f"{run.application_id}.log"
            done = live.run(run, bench.folder / names[at], rows[at], log, most_s=MOST_S)
            streams.counted(run, rows[at])
            found[at].append(done)
            about = f"{done.rate:,.0f}/s, {done.cpu_us:.1f} us of the processor each"
            print(f"{names[at]} {number}: {about}", flush=True)
    return found


def _first_score(found: Settings) -> None:
    own = {
        "group.id": f"{found.application_id}-reader",
        "isolation.level": "read_committed",
        "topic.metadata.refresh.interval.ms": 100,
        "fetch.wait.max.ms": 10,
    }
    reader = client.build(Consumer, client.properties(found.kafka, own))
    try:
        reader.assign([TopicPartition(found.topic("scores"), 0, 0)])
        deadline = time.monotonic() + START_WITHIN_S
        while time.monotonic() < deadline:
            message = reader.poll(0.01)
            if message is not None and message.error() is None:
                return
        raise RuntimeError(f"no score within {START_WITHIN_S} s")
    finally:
        reader.close()


def main() -> None:
    """Run, print, write: what was measured is on disk even where a later section fails."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.flat")
    options.add_argument("--only", help=f"of {','.join(SECTIONS)}; default all")
    options.add_argument(
        "--rows", type=arguments.positive, default=200_000, help="of a live run; 200,000"
    )
    options.add_argument(
        "--repetitions", type=arguments.positive, default=5, help="rounds; default 5"
    )
    options.add_argument(
        "--held",
        type=arguments.positive,
        default=HELD[-1],
        help="at most; default 10,000,000",
    )
    options.add_argument(
        "--soak-rows", type=arguments.positive, default=10_000_000, help="default 10,000,000"
    )
    options.add_argument(
        "--restart-rows", type=arguments.positive, default=500_000, help="default 500,000"
    )
    options.add_argument("--out", type=Path, default=OUT, help="the report; default in docs/")
    given = options.parse_args()
    wanted = given.only.split(",") if given.only else list(SECTIONS)
    if unknown := [name for name in wanted if name not in SECTIONS]:
        raise SystemExit(f"--only {unknown[0]}: no such section; there are {', '.join(SECTIONS)}")
    if given.soak_rows < streams.CHUNK:
        raise SystemExit(f"--soak-rows: at least {streams.CHUNK:,}")
    given.out.parent.mkdir(parents=True, exist_ok=True)
    text = [
        "# What does not grow",
        "",
        f"    {' '.join(['python -m benchmarks.flat', *sys.argv[1:]])}",
        "",
        f"Taken on {processes.machine()}.",
        "",
        f"{given.repetitions} rounds, the kinds of a table in turns; medians and, in brackets, "
        "the span; ratios are of runs of the same round.",
        "",
    ]
    with real_broker() as broker, tempfile.TemporaryDirectory() as scratch:
        bench = Bench(
            broker.bootstrap,
            Path(scratch),
            f"flat-{uuid.uuid4().hex[:8]}",
            given.rows,
            given.repetitions,
            given.held,
            given.soak_rows,
            given.restart_rows,
        )
        for name in wanted:
            text += SECTIONS[name](bench)
            given.out.write_text("\n".join(text))
    print("\n".join(text))


if __name__ == "__main__":
    main()
