"""A consumer that is killed again and again, beside one that is left alone, on the same topics."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from consumer import failpoints
from consumer.kafka.reader import Reader
from consumer.settings import Settings
from tests.integration import consuming

# What is said of a process's own life differs from run to run; all else must be the same.
OF_PROCESS = {
    "consumer-started",
    "consumer-stopped",
    "partitions-assigned",
    "partitions-revoked",
}
# Which time that a place is reached kills: early, so that every run gets there.
FAILPOINTS = [
    *("produced:3", "offsets:2", "committing:3", "heal:2", "swap:2", "restore:1", "rebalance:1"),
]
assert {point.partition(":")[0] for point in FAILPOINTS} == set(failpoints.PLACES)


KILL, STOP = "at a random moment", "SIGTERM at a random moment"


@dataclass
class Killed:
    """What it took to get to the end."""

    deaths: int
    proven: list[str]  # failpoints that fired, by their own line in the log
    said: str  # by the last process


def command(settings: Settings, model: Path, *more: str) -> list[str]:
    """`python -m consumer run` on a test's topics, to their end."""
    names = settings.input
    return [
        *(sys.executable, "-m", "consumer", "run", "--model", str(model), "--until-end"),
        *("--bootstrap-servers", settings.kafka.bootstrap_servers),
        *("--application-id", settings.application_id),
        *("--transactions-topic", names.transactions.topic),
        *("--labels-topic", names.labels.topic),
        *("--set", f"batch.span_s={settings.batch.span_s}", *more),
    ]


def run_and_kill(
    settings: Settings,
    model: Path,
    folder: Path,
    *,
    points: Sequence[str] = (),
    moments: int = 0,
    stops: int = 0,
    seed: int = 0,
    more: Sequence[str] = ("--inline",),
    between: Any = None,
) -> Killed:
    """Kill at failpoints and at random moments, stop it at others, then let it run to the end.

    `between(death)` is called after each death. Every second start finds an empty disk.
    """
    draw = random.Random(seed)
    log, cache = folder / "failpoints", folder / "cache"
    ways = [*points, *[KILL] * moments, *[STOP] * stops]
    draw.shuffle(ways)
    deaths = 0
    for number, way in enumerate([*ways, None]):
        if number % 2:
            shutil.rmtree(cache, ignore_errors=True)
        arguments = command(settings, model, "--set", f"join.cache_dir={cache}", *more)
        environment = {**os.environ, "REFLEXIVE_FAILPOINT_LOG": str(log)}
        if way in points:
            environment["REFLEXIVE_FAILPOINT"] = way
        with (folder / "said").open("wb") as said:
            process = subprocess.Popen(arguments, stderr=said, env=environment)
            if way in (KILL, STOP):
                # After the imports, which take a second or two: joining, restoring, or at work.
                time.sleep(draw.uniform(1.5, 6.0))
                process.kill() if way == KILL else process.terminate()
            code = process.wait(timeout=300)
        if code == -signal.SIGKILL:
            deaths += 1
            if between is not None:
                between(deaths)
        else:
            # A signal in the first second meets Python's own handler: nothing was begun.
            assert code in (0, -signal.SIGTERM), (code, (folder / "said").read_text())
    proven = log.read_text().split() if log.exists() else []
    return Killed(deaths, proven, (folder / "said").read_text())


def decisions(settings: Settings) -> list[dict[str, Any]]:
    """Every event but those of the process's own life, without what the application's name sets."""
    found = []
    for event in consuming.messages(settings, "events"):
        if event["event"]["action"] not in OF_PROCESS:
            del event["event"]["id"]
            del event["service"]
            found.append(event)
    return found


def scores(settings: Settings) -> dict[tuple[int, int], list[dict[str, Any]]]:
    """Every published score by the place of its transaction."""
    found: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for score in consuming.messages(settings, "scores"):
        found.setdefault((score["partition"], score["offset"]), []).append(score)
    return found


def labelled(settings: Settings) -> dict[int, list[dict[str, Any]]]:
    """Joined rows by partition, in their order."""
    found: dict[int, list[dict[str, Any]]] = {}
    for row in consuming.messages(settings, "labelled"):
        found.setdefault(row["partition"], []).append(row)
    return found


def checkpoint(settings: Settings, partition: int) -> dict[str, Any]:
    """The last one: counts, sums, windows and states."""
    with Reader(settings.kafka) as reader:
        (message,) = reader.last(settings.topic("checkpoints"), partition, 1)
    found: dict[str, Any] = orjson.loads(message.value() or b"")
    return found
