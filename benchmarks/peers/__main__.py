"""Peers at the same work, in turns with us: messages a second and processor time a message.

    make bench-peers

All read the same topic of JSON transactions and write one score for each; a reader counts them
message by message. A peer decodes, runs the same network with the same weights, and encodes: no
more. Ours is the whole system (exactly once at 100 ms, join with a tenth of the labels, monitors,
shadow, hedge of experts, events); a second line is ours with nothing to join and nothing to heal.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

import orjson
from confluent_kafka.cimpl import NewTopic

from benchmarks import arguments, live, processes, streams
from benchmarks.live import HERE, Run
from benchmarks.markdown import spread, table
from benchmarks.peers import environments
from benchmarks.peers.told import TOLD
from consumer.kafka import client, topics
from consumer.settings import Settings
from producer_sim.rows import Transactions
from producer_sim.scenarios import Scenario, stream
from tests.broker import real_broker

OUT = HERE / "docs" / "results" / "peers.md"
OURS, SCORING = "Reflexive, the whole", "Reflexive, scoring alone"
EVENT_RATE = 20_000  # transactions a second of event time
DIGITS = 4
MOST_S = 900
NO_LABELS = "nothing"  # a topic without a label
ALONE = ("--set", "delivery=at_least_once", "--set", "heal.policy=frozen")


@dataclass(frozen=True, slots=True)
class Peer:
    """Which file, which environment (None: .venv), and in how far it works in batches."""

    module: str
    environment: str | None
    how: str


PEERS = {
    "confluent-kafka, poll": Peer("with_poll", None, "message by message"),
    "confluent-kafka, consume": Peer("with_consume", None, "1,000 at a time"),
    "aiokafka": Peer("with_aiokafka", "aiokafka", "getmany, 1,000 at a time"),
    "Bytewax": Peer("with_bytewax", "bytewax", "flat_map_batch, 10,000 at a time"),
    "Quix Streams": Peer("with_quixstreams", "quixstreams", "apply, message by message"),
    "Quix Streams, sink": Peer("with_quixstreams_sink", "quixstreams", "a batching sink, 10,000"),
    "FastStream": Peer("with_faststream", "faststream", "batch subscriber, 1,000"),
    "Faust": Peer("with_faust", "faust", "take, 1,000 at a time"),
    "Pathway": Peer("with_pathway", "pathway", "batched UDF, 1,000"),
}


def small(chunks: Iterable[Transactions]) -> Iterator[Transactions]:
    """The same rows in 198 bytes each: features of four digits behind the point, shorter ids."""
    for chunk in streams.rounded(chunks, DIGITS):
        yield replace(chunk, ids=[name.replace("-42-", "-") for name in chunk.ids])


def peer(found: Settings, of: Peer, model: Path, rows: int, log: Path) -> Run:
    """One run of a peer. Raises: RuntimeError where it fails, or a score is missing or twice."""
    target = found.topic("scores")
    # When the broker wrote a message, and not when its sender says that it made it.
    stamped = {"message.timestamp.type": "LogAppendTime"}
    topics.create(client.admin(found.kafka), found.kafka, [NewTopic(target, 1, 1, config=stamped)])
    interpreter = environments.python(of.environment) if of.environment else Path(sys.executable)
    words = [str(interpreter), "-m", f"benchmarks.peers.{of.module}"]
    words += [found.kafka.bootstrap_servers, found.input.transactions.topic, target]
    words += [str(rows), str(model)]
    with log.open("wb") as said:
        try:
            ended = subprocess.run(
                words, stdout=subprocess.PIPE, stderr=said, cwd=HERE, timeout=MOST_S, check=True
            )
        except subprocess.SubprocessError as error:
            end = " / ".join(log.read_text(errors="replace").splitlines()[-3:])
            raise RuntimeError(f"{type(error).__name__}: {end}") from error
    # Some log to the same place.
    told = [line for line in ended.stdout.splitlines() if line.startswith(TOLD)]
    if len(told) != 1:
        raise RuntimeError(f"it ended without its figures: {ended.stdout[-200:]!r}")
    figures = orjson.loads(told[0].removeprefix(TOLD))
    last_ms = streams.counted(found, rows)
    return Run(rows, last_ms / 1000 - figures["begun_s"], figures["cpu_seconds"], {})


def ours(found: Settings, model: Path, rows: int, log: Path, *more: str) -> Run:
    """One run of ours, timed by itself up to its last commit."""
    run = live.run(found, model, rows, log, *more, most_s=MOST_S)
    streams.counted(found, rows)
    return run


def in_turns(
    kinds: dict[str, Callable[[str], Run]], repetitions: int
) -> tuple[dict[str, list[Run]], dict[str, str]]:
    """Each kind once a round, every second round the other way; and why those failed that did."""
    found: dict[str, list[Run]] = {kind: [] for kind in kinds}
    failed: dict[str, str] = {}
    for number in range(repetitions):
        for kind in kinds if number % 2 == 0 else reversed(kinds):
            if kind in failed:
                continue
            try:
                run = kinds[kind](f"{''.join(filter(str.isalnum, kind))}-{number}")
            except RuntimeError as error:
                failed[kind] = str(error)
                print(f"SKIPPED: {kind}: {error}", flush=True)
                continue
            found[kind].append(run)
            about = f"{run.rate:,.0f} messages/s, {run.cpu_us:.1f} us of the processor each"
            print(f"{kind} {number}: {about}", flush=True)
    return {kind: several for kind, several in found.items() if kind not in failed}, failed


def lines(found: dict[str, list[Run]]) -> list[list[str]]:
    """Of a table, the fastest first: ratios are ours to theirs, of runs of the same round."""
    several: list[list[str]] = []
    for kind in sorted(found, key=lambda k: -median(run.rate for run in found[k])):
        to = list(zip(found[OURS], found[kind], strict=True))
        several.append(
            [
                kind,
                PEERS[kind].how if kind in PEERS else "",
                spread([run.rate for run in found[kind]], ",.0f"),
                spread([our.rate / run.rate for our, run in to], ".2f"),
                spread([run.cpu_us for run in found[kind]], ".1f"),
                spread([our.cpu_us / run.cpu_us for our, run in to], ".2f"),
            ]
        )
    return several


def score_us(found: dict[str, list[Run]]) -> str:
    """µs a message in the stage that scores, of the whole system."""
    return spread([1e6 * run.stages["score"] / run.rows for run in found[OURS]], ".2f")


def installed(wanted: Sequence[str]) -> dict[str, str]:
    """Why peers cannot be run that cannot be installed; said aloud."""
    failed: dict[str, str] = {}
    for name in sorted({PEERS[kind].environment or "" for kind in wanted} - {""}):
        try:
            environments.python(name)
        except RuntimeError as error:
            failed |= {kind: str(error) for kind in wanted if PEERS[kind].environment == name}
            print(f"SKIPPED: {name} cannot be installed: {error}", flush=True)
    return failed


def kinds(
    bootstrap: str, name: str, folder: Path, rows: int, wanted: Sequence[str]
) -> dict[str, Callable[[str], Run]]:
    """What runs, by the name of its line; each is given the name of its run."""
    model = folder / "model"

    def whole(run: str) -> Run:
        found = streams.settings(bootstrap, name, run)
        return ours(found, model, rows, folder / f"{run}.log")

    def alone(run: str) -> Run:
        found = streams.settings(bootstrap, name, run, NO_LABELS)
        return ours(found, model, rows, folder / f"{run}.log", *ALONE)

    def theirs(of: Peer, run: str) -> Run:
        found = streams.settings(bootstrap, name, run)
        return peer(found, of, model, rows, folder / f"{run}.log")

    return {OURS: whole, SCORING: alone, **{k: partial(theirs, PEERS[k]) for k in wanted}}


def main() -> None:
    """Install, run, print, write."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.peers")
    options.add_argument(
        "--rows",
        type=arguments.positive,
        default=200_000,
        help="transactions; default 200,000",
    )
    options.add_argument(
        "--repetitions", type=arguments.positive, default=6, help="rounds; default 6"
    )
    options.add_argument("--only", help="peers, as their lines are called, a;b;c; default all")
    options.add_argument("--out", type=Path, default=OUT, help="the report; default in docs/")
    given = options.parse_args()
    wanted = given.only.split(";") if given.only else list(PEERS)
    if unknown := [name for name in wanted if name not in PEERS]:
        raise SystemExit(f"--only {unknown[0]}: no such peer; there are {'; '.join(PEERS)}")
    refused = installed(wanted)
    wanted = [kind for kind in wanted if kind not in refused]
    about, name = processes.machine(), f"peers-{uuid.uuid4().hex[:8]}"
    with real_broker() as broker, tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        streams.model(folder)
        some = small(stream(Scenario.none, 42, rows=given.rows))
        inputs = streams.settings(broker.bootstrap, name, "input")
        size = streams.publish(inputs, streams.paced(some, EVENT_RATE, streams.START_MS))
        topics.create(
            client.admin(inputs.kafka), inputs.kafka, [NewTopic(f"{name}-{NO_LABELS}", 1, 1)]
        )
        runnable = kinds(broker.bootstrap, name, folder, given.rows, wanted)
        found, failed = in_turns(runnable, given.repetitions)
    used = sorted({PEERS[kind].environment or "" for kind in wanted} - {""})
    versions = {each: environments.versions(each) for each in used}
    text = "\n".join(
        [
            "# Peers at the same work",
            "",
            "    make bench-peers",
            "",
            f"Taken on {about}.",
            "",
            f"{given.rows:,} transactions of {size:.0f} bytes of JSON and ten features, published "
            "before, one partition. Each decodes, runs the same torch network with the same "
            "weights, and writes a score a transaction; all peers share one function for it "
            "(`benchmarks/peers/model.py`) and torch, each has its own environment and its own "
            "Kafka client, is at least once, and is set up as its documentation says it is at its "
            f"best (`benchmarks/peers/with_*.py`). {given.repetitions} rounds, the kinds in turns; "
            "each run is a process of its own. A peer's time is from the first message that its "
            "model is given until the broker has written the last score; ours is until its last "
            "commit. (Pathway reads ahead for a tenth of a second before its model is first given "
            "rows.) A reader has counted every message. Medians and, in brackets, the span; the "
            "ratios are ours to theirs, of runs of the same round: above 1 in the first we are "
            "faster, below 1 in the second we take less of the processor.",
            "",
            f"*{OURS}*: exactly once with a commit every 100 ms, join with a tenth of the labels, "
            f"monitors, shadow, hedge of experts, events. *{SCORING}*: at least once, no label, "
            "nothing heals; monitors and the join's rows go on.",
            "",
            *table(
                ["", "how", "messages/s", "ours to it", "µs of processor a message", "ours to it"],
                lines(found),
            ),
            f"The stage `score` alone, of *{OURS}*: {score_us(found)} µs a message.",
            "",
            *(f"Not run: {kind}: {why}" for kind, why in (refused | failed).items()),
            "",
            *(f"- {each}: {what}" for each, what in versions.items()),
            "",
        ]
    )
    print(text)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(text)
    figures = {
        "command": " ".join(["python -m benchmarks.peers", *sys.argv[1:]]),
        "machine": about,
        "versions": versions,
        "bytes": size,
        "failed": refused | failed,
        "runs": {kind: [asdict(run) for run in several] for kind, several in found.items()},
    }
    indented = orjson.dumps(figures, option=orjson.OPT_INDENT_2)
    given.out.with_suffix(".json").write_bytes(indented + b"\n")


if __name__ == "__main__":
    main()
