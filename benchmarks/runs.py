"""Runs of the real commands against a real broker, and what their topics then hold."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from consumer import model_directory
from consumer.kafka.reader import read_all
from consumer.model_directory import Model
from consumer.settings import Settings, load


@dataclass(frozen=True)
class Run:
    """A run that has ended: its settings name its topics, its folder holds its files."""

    settings: Settings
    folder: Path

    @property
    def model(self) -> Model:
        """The model it ran with."""
        return model_directory.load(self.folder / "model")

    def file(self, name: str) -> Path:
        """One of `train`, `test`, `drifted`."""
        return self.folder / f"{name}.csv"

    def events(self, action: str) -> list[dict[str, Any]]:
        """The `reflexive` part of every event of one action, in order."""
        found = (orjson.loads(record.value or b"") for record in self.records("events"))
        return [e["reflexive"] for e in found if e["event"]["action"] == action]

    def records(self, topic: str) -> list[Any]:
        """Every record of one of the application's topics."""
        return list(read_all(self.settings.kafka, self.settings.topic(topic)))


def command(*words: object) -> None:
    """Run one of our commands as a user would; its error ends the benchmark."""
    subprocess.run([sys.executable, "-m", *map(str, words)], check=True, stderr=subprocess.PIPE)


def paper(
    bootstrap: str,
    folder: Path,
    *,
    drift_strength: float = 2.2,
    seed: int = 42,
    f1_drop: float = 0.08,
) -> Run:
    """The published run: train, stream, consume inline, each by its own command."""
    folder.mkdir(parents=True, exist_ok=True)
    name = folder.name
    transactions, labels = f"{name}.transactions", f"{name}.labels"
    topics = ("--transactions-topic", transactions, "--labels-topic", labels)
    broker = ("--bootstrap-servers", bootstrap)
    run = Run(
        load(
            None,
            {
                "kafka.bootstrap_servers": bootstrap,
                "application_id": f"{name}.app",
                "input.transactions.topic": transactions,
                "input.labels.topic": labels,
            },
        ),
        folder,
    )
    files = [w for n in ("train", "test", "drifted") for w in (f"--{n}-out", run.file(n))]
    command(
        *("producer_sim", "stream", "--scenario", "paper", "--seed", seed),
        *("--drift-strength", drift_strength, *files, *topics, *broker),
    )
    command(
        *("consumer", "train", "--recipe", "paper", "--seed", seed),
        *("--data", run.file("train"), "--test", run.file("test"), "--out", folder / "model"),
        *("--rule", "V14 < -1.5", "--watch", "V14"),
    )
    command(
        *("consumer", "run", "--inline", "--until-end", "--model", folder / "model"),
        *("--application-id", f"{name}.app", "--set", f"health.f1_drop={f1_drop}"),
        *("--set", "heal.policy=paper", "--set", "batch.span_s=0", *topics, *broker),
    )
    return run
