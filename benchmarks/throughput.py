"""How fast the whole system is, against the fastest loop that Python's Kafka client allows.

    make bench

The whole system works: exactly once at 100 ms, the join with a tenth of the labels, monitors, the
shadow, the hedge of experts, events. Beside it, in turns: `benchmarks/raw.py`, which consumes each
message and produces it again. Both read the same topic; what they wrote is counted message by
message. `--before DIR` runs another checkout of this project in turns as well.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import orjson
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.cimpl import NewTopic

from benchmarks import processes, runs
from benchmarks.markdown import table
from consumer.kafka import client, topics
from consumer.kafka.reader import read_all
from consumer.profile import STAGES
from consumer.settings import Settings, load
from producer_sim import encode
from producer_sim.labels import Labelling
from producer_sim.rows import Transactions
from producer_sim.scenarios import Scenario, stream
from tests.broker import real_broker

HERE = Path(__file__).parent.parent
OUT = HERE / "docs" / "results" / "performance.md"
RAW, NOW, BEFORE = "raw", "Reflexive", "Reflexive before"
LABELLED, LABEL_DELAY_MS = 0.1, 1_000
START_MS = 1_767_225_600_000  # 2026-01-01
LOOK_S = 0.1
# Beyond it a run hangs: a tenth of the slowest rate seen on a laden machine.
MOST_S = 300


@dataclass(frozen=True, slots=True)
class Run:
    """One run, from its first message on."""

    rows: int
    seconds: float
    cpu_seconds: float  # of all its threads
    stages: Mapping[str, float]  # seconds by stage, of our own runs

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.rows / self.seconds

    @property
    def cpu_us(self) -> float:
        """Processor time a message."""
        return 1e6 * self.cpu_seconds / self.rows


def publish(found: Settings, rows: int, rate: int) -> float:
    """Transactions at an event time of `rate` a second, and labels; bytes a transaction, mean."""
    names, kafka = found.input, found.kafka
    admin = client.admin(kafka)
    wanted = [NewTopic(name, 1, 1) for name in (names.transactions.topic, names.labels.topic)]
    topics.create(admin, kafka, wanted)
    out = client.producer(kafka, {"linger.ms": 50, "compression.type": "lz4"})
    labelling, size, done = Labelling(LABEL_DELAY_MS, LABELLED), 0, 0
    for chunk in stream(Scenario.none, 42, rows=rows):
        times = START_MS + 1000 * np.arange(done, done + len(chunk)) // rate
        paced: Transactions = replace(chunk, times=times)
        done += len(chunk)
        labels = labelling.of(paced)
        for topic, ids, values in (
            (names.transactions.topic, paced.ids, encode.transactions(paced)),
            (names.labels.topic, labels.ids.to_pylist(), encode.labels(labels)),
        ):
            for key, value in zip(ids, values, strict=True):
                while True:
                    try:
                        out.produce(topic, value, key, 0)
                        break
                    except BufferError:
                        out.poll(0.05)
            if topic == names.transactions.topic:
                size += sum(map(len, values))
        out.poll(0)
    if out.flush(60):
        raise SystemExit("the stream could not be published")
    return size / rows


def settings(bootstrap: str, name: str, of: str) -> Settings:
    """Of one run, as a user has them: exactly once, a commit every 100 ms, order of arrival."""
    return load(
        Path(os.devnull),
        {
            "kafka.bootstrap_servers": bootstrap,
            "application_id": f"{name}-{of}",
            "input.transactions.topic": f"{name}-transactions",
            "input.labels.topic": f"{name}-labels",
        },
    )


def raw(found: Settings, rows: int) -> Run:
    """Copy every message in a process of its own."""
    target = found.topic("scores")
    topics.create(client.admin(found.kafka), found.kafka, [NewTopic(target, 1, 1)])
    source = found.input.transactions.topic
    command = (sys.executable, "-m", "benchmarks.raw", found.kafka.bootstrap_servers, source)
    ended = subprocess.run([*command, target, str(rows)], check=True, capture_output=True, cwd=HERE)
    return Run(**orjson.loads(ended.stdout), stages={})


def ours(found: Settings, model: Path, rows: int, checkout: Path, log: Path) -> Run:
    """Run a checkout's consumer live until all is committed, then end it as a supervisor would."""
    command = [
        *(sys.executable, "-m", "consumer", "run", "--model", str(model), "--profile", "--json"),
        *("--bootstrap-servers", found.kafka.bootstrap_servers),
        *("--application-id", found.application_id),
        *("--transactions-topic", found.input.transactions.topic),
        *("--labels-topic", found.input.labels.topic),
    ]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    with log.open("wb") as said:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=said, cwd=checkout, env=environment
        )
        try:
            _await(found, rows, process)
            process.send_signal(signal.SIGTERM)
            told, _ = process.communicate(timeout=30)
        finally:
            process.kill()
            process.wait()
    if process.returncode:
        raise RuntimeError("the consumer failed: " + log.read_text(errors="replace")[-500:])
    profile = orjson.loads(told.splitlines()[-1])
    assert profile["rows"] == rows
    # After the last message it waits to be told to stop, at no cost of the processor.
    stages = profile["stages"]
    return Run(rows, profile["seconds"] - stages["wait"], profile["cpu_seconds"], stages)


def _await(found: Settings, rows: int, process: subprocess.Popen[bytes]) -> None:
    """Until so many transactions and their labels are committed."""
    own = {"group.id": found.application_id, "isolation.level": "read_uncommitted"}
    group = client.build(Consumer, client.properties(found.kafka, own))  # asked, never joined
    places = [TopicPartition(t.topic, 0) for t in (found.input.transactions, found.input.labels)]
    ends = [group.get_watermark_offsets(place, timeout=10)[1] for place in places]
    deadline = time.monotonic() + MOST_S
    while process.poll() is None and time.monotonic() < deadline:
        at = [place.offset for place in group.committed(places, timeout=10)]
        if all(a >= end for a, end in zip(at, ends, strict=True)):
            break
        time.sleep(LOOK_S)
    group.close()


def counted(found: Settings, rows: int) -> None:
    """Every transaction has one message in the output.

    Raises: RuntimeError where one is missing or there twice.
    """
    keys = [record.key for record in read_all(found.kafka, found.topic("scores"))]
    if len(keys) != rows or len(set(keys)) != rows:
        raise RuntimeError(f"{len(keys):,} messages of {len(set(keys)):,} ids, not {rows:,}")


def in_turns(
    bootstrap: str, folder: Path, name: str, rows: int, repetitions: int, before: Path | None
) -> dict[str, list[Run]]:
    """Each kind once a round, every second round the other way."""
    checkouts = {NOW: HERE, **({BEFORE: before} if before else {})}
    kinds = [RAW, *checkouts]
    found: dict[str, list[Run]] = {kind: [] for kind in kinds}
    for number in range(repetitions):
        for kind in kinds if number % 2 == 0 else reversed(kinds):
            of = settings(bootstrap, name, f"{kind.replace(' ', '-').lower()}-{number}")
            if kind == RAW:
                run = raw(of, rows)
            else:
                log = folder / f"{of.application_id}.log"
                run = ours(of, folder / "model", rows, checkouts[kind], log)
            counted(of, rows)
            found[kind].append(run)
            about = f"{run.rate:,.0f} messages/s, {run.cpu_us:.1f} us of the processor each"
            print(f"{kind} {number}: {about}", flush=True)
    return found


def _spread(values: Sequence[float], form: str) -> str:
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def throughput(found: Mapping[str, Sequence[Run]]) -> list[list[str]]:
    """Lines of a table: ratios are of runs of the same round."""
    lines = []
    for kind, several in found.items():
        to_raw = list(zip(several, found[RAW], strict=True))
        lines.append(
            [
                kind,
                _spread([run.rate for run in several], ",.0f"),
                _spread([run.rate / other.rate for run, other in to_raw], ".3f"),
                _spread([run.cpu_us for run in several], ".1f"),
                _spread([run.cpu_us / other.cpu_us for run, other in to_raw], ".1f"),
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
            if kind != RAW:
                line.append(f"{median(1e6 * run.stages[stage] / run.rows for run in several):.2f}")
                line.append(f"{median(run.stages[stage] / run.seconds for run in several):.0%}")
        lines.append(line)
    return lines


def gains(found: Mapping[str, Sequence[Run]]) -> list[str]:
    """What has become faster, of runs of the same round; nothing where there is one checkout."""
    if BEFORE not in found:
        return []
    pairs = list(zip(found[NOW], found[BEFORE], strict=True))
    rate = _spread([now.rate / then.rate for now, then in pairs], ".2f")
    cpu = _spread([now.cpu_us / then.cpu_us for now, then in pairs], ".2f")
    return [f"Now against before: {rate} times the messages/s, {cpu} times the processor.", ""]


def main() -> None:
    """Run, print, write."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.throughput")
    options.add_argument("--rows", type=int, default=200_000, help="transactions; default 200,000")
    options.add_argument(
        "--rate", type=int, default=20_000, help="a second of event time; default 20,000"
    )
    options.add_argument("--repetitions", type=int, default=5, help="of each kind; default 5")
    options.add_argument("--before", type=Path, help="another checkout, run in turns")
    options.add_argument("--out", type=Path, default=OUT, help="the report; default in docs/")
    given = options.parse_args()
    about, name = processes.machine(), f"throughput-{uuid.uuid4().hex[:8]}"
    with real_broker() as broker, tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        file = folder / "train.csv"
        runs.command(
            *("producer_sim", "stream", "--scenario", "none", "--no-publish", "--train-out", file)
        )
        runs.command(
            *("consumer", "train", "--data", file, "--out", folder / "model"),
            *("--rule", "V14 < -1.5"),
        )
        size = publish(settings(broker.bootstrap, name, "input"), given.rows, given.rate)
        found = in_turns(
            broker.bootstrap, folder, name, given.rows, given.repetitions, given.before
        )
    kinds = [kind for kind in found if kind != RAW]
    text = "\n".join(
        [
            "# How fast it is",
            "",
            "    make bench",
            "",
            f"Taken on {about}.",
            "",
            f"{given.rows:,} transactions of {size:.0f} bytes and ten features, {given.rate:,} a "
            f"second of event time, published before; {LABELLED:.0%} of them labelled; one "
            "partition. The whole system works: exactly once with a commit every 100 ms, join, "
            "monitors, shadow, hedge of experts, events. Raw is a loop that consumes each message "
            "and produces it again (`benchmarks/raw.py`), at least once. "
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
