"""A consumer that is started and killed again and again, until it is let run to the end."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from consumer import failpoints
from consumer.command_line import INTERRUPTED
from consumer.settings import Settings

# Which time that a place is reached kills: early, so that every run gets there. Those that a stream
# comes to a few times only are first: a run that dies late leaves little for the next.
FEW = ("swap:2", "heal:2")
FAILPOINTS = [*FEW, "produced:3", "offsets:2", "committing:3", "restore:1", "rebalance:1"]
assert {point.partition(":")[0] for point in FAILPOINTS} == set(failpoints.PLACES)

# The longest that a run may take to its end, or to the place where it dies.
RUN_S = 300


@dataclass(frozen=True, slots=True)
class Run:
    """One start of the consumer, and how much of all that is to happen lies behind it."""

    process: subprocess.Popen[bytes]
    said: Path  # its log
    share: float  # 0 to 1
    draw: random.Random

    @property
    def alive(self) -> bool:
        """Has it not ended yet?"""
        return self.process.poll() is None

    def end(self) -> int:
        """Its status. One that does not end says where it hangs."""
        try:
            return self.process.wait(timeout=RUN_S)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # PYTHONFAULTHANDLER
            self.process.wait()
            pytest.fail(f"no end within {RUN_S} s:\n{self.said.read_text()[-8_000:]}")


# A failpoint at which the run is to die, or what is done to it while it is at work.
Way = str | Callable[[Run], None]


@dataclass(frozen=True, slots=True)
class Killed:
    """What it took to get to the end."""

    deaths: int
    proven: list[str]  # failpoints that fired, by their own line in the log


def at_any_moment(run: Run) -> None:
    """Kill it after the imports, which take a second or two: joining, restoring, or at work."""
    time.sleep(run.draw.uniform(1.5, 6.0))
    run.process.kill()


def stopped_at_any_moment(run: Run) -> None:
    """Tell it to stop: where it still imports, that interrupts it before anything was begun."""
    time.sleep(run.draw.uniform(1.5, 6.0))
    run.process.terminate()
    code = run.end()
    assert code in (0, INTERRUPTED, -signal.SIGINT, -signal.SIGTERM), run.said.read_text()[-4_000:]


def shuffled(ways: Sequence[Way], seed: int) -> list[Way]:
    """The same ways in a drawn order."""
    return random.Random(seed).sample(ways, len(ways))


def command(settings: Settings, model: Path, *more: str) -> list[str]:
    """`python -m consumer run` with a test's settings."""
    names, health = settings.input, settings.health
    return [
        *(sys.executable, "-m", "consumer", "run", "--model", str(model)),
        *("--bootstrap-servers", settings.kafka.bootstrap_servers),
        *("--application-id", settings.application_id),
        *("--transactions-topic", names.transactions.topic),
        *("--labels-topic", names.labels.topic),
        *("--set", f"batch.span_s={settings.batch.span_s}"),
        *("--set", f"heal.policy={settings.heal.policy}"),
        *("--set", f"health.f1_drop={health.f1_drop}"),
        *("--set", f"health.accuracy_drop={health.accuracy_drop}"),
        *(f"--{settings.heal.mode}", *more),
    ]


def run_and_kill(
    settings: Settings, model: Path, folder: Path, ways: Sequence[Way], *, seed: int
) -> Killed:
    """Start it once for each way to die, then let it run to the end.

    Every second start finds an empty disk. A run that ends before its death must end well.
    """
    draw = random.Random(seed)
    folder.mkdir(exist_ok=True)
    log, cache = folder / "failpoints", folder / "cache"
    deaths = 0
    for number, way in enumerate([*ways, None]):
        if number % 2:
            shutil.rmtree(cache, ignore_errors=True)
        environment = {
            **os.environ,
            "PYTHONFAULTHANDLER": "1",
            "REFLEXIVE_FAILPOINT_LOG": str(log),
        }
        if isinstance(way, str):
            environment["REFLEXIVE_FAILPOINT"] = way
        arguments = command(settings, model, "--until-end", "--set", f"join.cache_dir={cache}")
        said = folder / f"said-{number}"
        with said.open("wb") as out:
            process = subprocess.Popen(arguments, stderr=out, env=environment)
        run = Run(process, said, number / len(ways), draw)
        try:
            if callable(way):
                way(run)
            code = run.end()
        finally:
            process.kill()
        if not callable(way):  # else it has looked itself
            assert code in (0, -signal.SIGKILL), said.read_text()[-4_000:]
        deaths += code == -signal.SIGKILL
    return Killed(deaths, log.read_text().split() if log.exists() else [])
