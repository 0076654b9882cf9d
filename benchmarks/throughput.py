"""How fast the whole system is, against the fastest loop that Python's Kafka client allows.

    make bench

The whole system works: exactly once at 100 ms, the join with a tenth of the labels, monitors, the
shadow, the hedge of experts, events. Beside it, in turns: `benchmarks/raw.py`, which consumes each
message and produces it again, and the same loop where it decodes and scores each and does nothing
else. All read the same topic; what they wrote is counted message by message. `--before DIR` runs
another checkout of this project in turns as well.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import orjson
from confluent_kafka.cimpl import NewTopic

from benchmarks import arguments, live, processes
from benchmarks.live import HERE, Run
from benchmarks.markdown import spread, table
from benchmarks.streams import START_MS, TENTH, counted, model, paced, publish, settings
from consumer.kafka import client, topics
from consumer.profile import STAGES
from consumer.settings import Settings
from producer_sim.scenarios import Scenario, stream
from tests.broker import real_broker

OUT = HERE / "docs" / "results" / "performance.md"
RAW, BARE = "raw", "raw that scores"
OURS = NOW, BEFORE = "Reflexive", "Reflexive before"


def raw(found: Settings, rows: int, *model: str) -> Run:
    """Copy every message in a process of its own; with a model's directory, score it instead."""
    target = found.topic("scores")
    topics.create(client.admin(found.kafka), found.kafka, [NewTopic(target, 1, 1)])
    source = found.input.transactions.topic
    command = [sys.executable, "-m", "benchmarks.raw", found.kafka.bootstrap_servers, source]
    command += [target, str(rows), *model]
    ended = subprocess.run(command, check=True, capture_output=True, cwd=HERE)
    return Run(**orjson.loads(ended.stdout), stages={})


def in_turns(
    bootstrap: str, folder: Path, name: str, rows: int, repetitions: int, before: Path | None
) -> dict[str, list[Run]]:
    """Each kind once a round, every second round the other way."""
    checkouts = {NOW: HERE, **({BEFORE: before} if before else {})}
    kinds = [RAW, BARE, *checkouts]
    found: dict[str, list[Run]] = {kind: [] for kind in kinds}
    for number in range(repetitions):
        for kind in kinds if number % 2 == 0 else reversed(kinds):
            of = settings(bootstrap, name, f"{kind.replace(' ', '-').lower()}-{number}")
            if kind == RAW:
                run = raw(of, rows)
            elif kind == BARE:
                run = raw(of, rows, str(folder / "model"))
            else:
                log = folder / f"{of.application_id}.log"
                checkout = checkouts[kind]
                run = live.run(of, folder / "model", rows, log, checkout=checkout)
            counted(of, rows)
            found[kind].append(run)
            about = f"{run.rate:,.0f} messages/s, {run.cpu_us:.1f} us of the processor each"
            print(f"{kind} {number}: {about}", flush=True)
    return found


def throughput(found: Mapping[str, Sequence[Run]]) -> list[list[str]]:
    """Lines of a table: ratios are of runs of the same round."""
    lines = []
    for kind, several in found.items():
        to_raw = list(zip(several, found[RAW], strict=True))
        lines.append(
            [
                kind,
                spread([run.rate for run in several], ",.0f"),
                spread([run.rate / other.rate for run, other in to_raw], ".3f"),
                spread([run.cpu_us for run in several], ".1f"),
                spread([run.cpu_us / other.cpu_us for run, other in to_raw], ".1f"),
            ]
        )
    return lines


def stages(found: Mapping[str, Sequence[Run]]) -> list[list[str]]:
    """Lines of a table: µs a row and share of the time, medians."""
    lines: list[list[str]] = []
    for stage in STAGES:
        if stage == "wait":
            continue
        line: list[str] = [stage]
        for kind, several in found.items():
            if kind in OURS:
                line.append(f"{median(1e6 * run.stages[stage] / run.rows for run in several):.2f}")
                line.append(f"{median(run.stages[stage] / run.seconds for run in several):.0%}")
        lines.append(line)
    return lines


def gains(found: Mapping[str, Sequence[Run]]) -> list[str]:
    """What has become faster, of runs of the same round; nothing where there is one checkout."""
    if BEFORE not in found:
        return []
    pairs = list(zip(found[NOW], found[BEFORE], strict=True))
    rate = spread([now.rate / then.rate for now, then in pairs], ".2f")
    cpu = spread([now.cpu_us / then.cpu_us for now, then in pairs], ".2f")
    return [f"Now against before: {rate} times the messages/s, {cpu} times the processor.", ""]


def heals(found: Mapping[str, Sequence[Run]]) -> list[str]:
    """What the process that heals took beside those that score."""
    taken = spread([run.heal_cpu_seconds for run in found[NOW]], ".1f")
    return [
        "Processor times are of the process that scores. The one that heals took "
        f"{taken} s a run, some 2 s of these to start; a version before, which healed on a thread, "
        "has it all in one.",
        "",
    ]


def main() -> None:
    """Run, print, write."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.throughput")
    options.add_argument(
        "--rows",
        type=arguments.positive,
        default=200_000,
        help="transactions; default 200,000",
    )
    options.add_argument(
        "--rate",
        type=arguments.positive,
        default=20_000,
        help="a second of event time; default 20,000",
    )
    options.add_argument(
        "--repetitions", type=arguments.positive, default=5, help="of each kind; default 5"
    )
    options.add_argument("--before", type=arguments.checkout, help="another checkout, run in turns")
    options.add_argument("--out", type=Path, default=OUT, help="the report; default in docs/")
    given = options.parse_args()
    about, name = processes.machine(), f"throughput-{uuid.uuid4().hex[:8]}"
    with real_broker() as broker, tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model(folder)
        chunks = paced(stream(Scenario.none, 42, rows=given.rows), given.rate, START_MS)
        size = publish(settings(broker.bootstrap, name, "input"), chunks)
        found = in_turns(
            broker.bootstrap, folder, name, given.rows, given.repetitions, given.before
        )
    kinds = [kind for kind in found if kind in OURS]
    text = "\n".join(
        [
            "# How fast it is",
            "",
            "    make bench",
            "",
            f"Taken on {about}.",
            "",
            f"{given.rows:,} transactions of {size:.0f} bytes and ten features, {given.rate:,} a "
            f"second of event time, published before; {TENTH.fraction:.0%} of them labelled; one "
            "partition. The whole system works: exactly once with a commit every 100 ms, join, "
            "monitors, shadow, hedge of experts, events. Raw is a loop that consumes each message "
            "and produces it again (`benchmarks/raw.py`), at least once; *raw that scores* decodes "
            "each, passes the frozen model over 1,000 at a time and produces the scores, by our "
            "own stages, and does nothing else. "
            f"{given.repetitions} rounds, the kinds in turns; each run is a process of its own, "
            "timed by itself from its first message to its last delivery; start and the wait for "
            "the group are no part of it. Output counted message by message. Medians and, in "
            "brackets, the span; ratios are of runs of the same round.",
            "",
            *table(
                ["", "messages/s", "of raw", "µs of processor a message", "of raw"],
                throughput(found),
            ),
            *gains(found),
            *heals(found),
            "## Where the time goes",
            "",
            "`python -m consumer run --profile`, of the same runs:",
            "",
            *table(
                ["stage", *(c for kind in kinds for c in (f"{kind}, µs/row", "share"))],
                stages(found),
            ),
        ]
    )
    print(text)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(text)


if __name__ == "__main__":
    main()
