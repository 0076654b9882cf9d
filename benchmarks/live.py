"""Our consumer as a process of its own that runs live, timed by itself (`run --profile`)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson
from confluent_kafka import Consumer, TopicPartition

from benchmarks.processes import committed
from consumer.kafka import client
from consumer.settings import Settings

HERE = Path(__file__).parent.parent
LOOK_S = 0.1
STOP_S = 60


@dataclass(frozen=True, slots=True)
class Run:
    """One run, from its first message on."""

    rows: int
    seconds: float
    cpu_seconds: float  # of all its threads
    stages: Mapping[str, float]  # seconds by stage, of our own runs
    heal_cpu_seconds: float = 0.0  # of the process that heals, from its start on

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.rows / self.seconds

    @property
    def cpu_us(self) -> float:
        """Processor time a message."""
        return 1e6 * self.cpu_seconds / self.rows


class Live:
    """A running consumer; its profile once it has stopped."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    def stop(self) -> Run:
        """End it as a supervisor would. Raises: RuntimeError with the end of its log."""
        self.process.send_signal(signal.SIGTERM)
        told, _ = self.process.communicate(timeout=STOP_S)
        if self.process.returncode:
            end = self._log.read_text(errors="replace")[-500:]
            raise RuntimeError("the consumer failed: " + end)
        profile = orjson.loads(told.splitlines()[-1])
        stages = profile["stages"]
        # After the last commit it waits to be told to stop, at no cost of the processor. (A version
        # that does not tell when that was: without all waiting.)
        seconds = profile.get("committed_seconds", profile["seconds"] - stages["wait"])
        heals = profile.get("heal_cpu_seconds", 0.0)
        return Run(profile["rows"], seconds, profile["cpu_seconds"], stages, heals)


@contextmanager
def started(
    found: Settings, model: Path, log: Path, *more: str, checkout: Path = HERE
) -> Iterator[Live]:
    """A checkout's consumer on the topics of these settings; `more`: flags of `run`."""
    command = [
        *(sys.executable, "-m", "consumer", "run", "--model", str(model), "--profile", "--json"),
        *("--bootstrap-servers", found.kafka.bootstrap_servers),
        *("--application-id", found.application_id),
        *("--transactions-topic", found.input.transactions.topic),
        *("--labels-topic", found.input.labels.topic),
        *more,
    ]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    with log.open("wb") as said:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=said, cwd=checkout, env=environment
        )
        try:
            yield Live(process, log)
        finally:
            process.kill()
            process.wait()


def run(
    found: Settings,
    model: Path,
    rows: int,
    log: Path,
    *more: str,
    checkout: Path = HERE,
    most_s: float = 300,
) -> Run:
    """Run live until all that was published is committed; `most_s`: beyond it a run hangs.

    Raises: RuntimeError where it fails, hangs, or has scored another number of rows.
    """
    with started(found, model, log, *more, checkout=checkout) as live:
        _await_all(found, live.process, most_s)
        done = live.stop()
    if done.rows != rows:
        raise RuntimeError(f"{done.rows:,} rows scored, not {rows:,}")
    return done


def _await_all(found: Settings, process: subprocess.Popen[bytes], most_s: float) -> None:
    """Until all transactions and their labels are committed."""
    own = {"group.id": found.application_id, "isolation.level": "read_uncommitted"}
    group = client.build(Consumer, client.properties(found.kafka, own))  # asked, never joined
    names = (found.input.transactions.topic, found.input.labels.topic)
    places = [
        TopicPartition(name, number)
        for name in names
        for number in range(client.partitions_of(group, found.kafka, name))
    ]
    ends = [group.get_watermark_offsets(place, timeout=10)[1] for place in places]
    deadline = time.monotonic() + most_s
    while process.poll() is None and time.monotonic() < deadline:
        at = committed(group, places)
        if all(a >= end for a, end in zip(at, ends, strict=True) if end):
            break
        time.sleep(LOOK_S)
    group.close()
