"""The whole story in one command, on the embedded broker and through the same code path as ever.

The published stream is made and sent by the simulator in a process of its own, as it would be on a
real broker; only the broker is smaller.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from rich.console import Console

from consumer import evaluate, logs, model_directory, training_command
from consumer.errors import ReflexiveError
from consumer.evaluate import Stage
from consumer.kafka.embedded import embedded_broker
from consumer.live_view import LiveView
from consumer.loop import Loop
from consumer.report import report
from consumer.sections import Log
from consumer.settings import Settings, load
from consumer.shutdown import signals
from consumer.status import Status

ROWS = 2_500


def run(out: Path, rate: int) -> None:
    """Train, stream `rate` transactions a second, heal, judge, report; all files under `out`."""
    console = Console()
    logs.configure(Log(level="error", format="auto"))
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ReflexiveError(f"folder {out}: {error.strerror}. Name another: --out") from error
    train, test, drifted = (out / f"{name}.csv" for name in ("train", "test", "drifted"))
    console.rule("1  rows to train on, and a model")
    files = ("--train-out", train, "--test-out", test, "--drifted-out", drifted)
    if subprocess.run(_command("--no-publish", *files), check=False).returncode:
        raise ReflexiveError(f"the simulator could not write its rows to {out}")
    training_command.run(
        train,
        out / "model",
        features=None,
        label="is_fraud",
        time=None,
        rule_texts=["V14 < -1.5"],
        watch=["V14"],
        recipe="paper",
        test=test,
        seed=42,
    )
    with embedded_broker() as address:
        settings = load(
            None,
            {
                "kafka.bootstrap_servers": address,
                "model": out / "model",
                "log.level": "error",
                "heal.policy": "paper",  # the published run, as it was published
            },
        )
        console.rule("2  the stream drifts, the model heals")
        _stream(settings, rate)
        console.print()
        console.rule("3  what it came to")
        _judge(settings, console, test, drifted)
        made = report(settings, out / "export", out / "model")
        console.print(f"{len(made.files)} files in {made.folder}, nine plots among them")


def _stream(settings: Settings, rate: int) -> None:
    model = model_directory.load(_model(settings))
    view = LiveView()
    simulator: list[subprocess.Popen[str]] = []

    def follow(status: Status) -> None:
        view.update(status)
        if status.partitions and not simulator:
            # Not before we are assigned: the first batches are to be watched, not caught up with.
            simulator.append(_start(settings, rate))
        elif status.labelled == ROWS and status.state != "HEALING":
            loop.stop("the stream has ended")
        elif simulator and simulator[0].poll():
            loop.stop("the simulator failed")

    loop = Loop(settings, model, on_status=follow)
    try:
        with signals(loop), view:
            status = loop.run()
    finally:
        for process in simulator:
            process.terminate()
    for process in simulator:
        _, said = process.communicate()
        if process.returncode > 0:
            raise ReflexiveError(f"the simulator failed: {said.strip()}")
    if status.labelled < ROWS:
        raise KeyboardInterrupt  # told to stop: half a story is not judged


def _judge(settings: Settings, console: Console, test: Path, drifted: Path) -> None:
    model = model_directory.load(_model(settings))
    clean, moved = evaluate.load(test, model), evaluate.load(drifted, model)
    snapshot = evaluate.last_deployed(settings, model)
    threshold, cost = settings.decision.threshold, settings.cost
    healed, frozen = evaluate.scores(model, moved, snapshot)
    trained, _ = evaluate.scores(model, clean, None)
    stages = [
        Stage("clean, as trained", evaluate.judge(trained, clean, threshold)),
        Stage("drifted, frozen", evaluate.judge(frozen, moved, threshold)),
        Stage(f"drifted, healed v{snapshot.version}", evaluate.judge(healed, moved, threshold)),
        *evaluate.constants(moved),
    ]
    console.print(
        evaluate.table(
            f"Stages, on the published {len(moved):,} rows; FN ${settings.cost.missed_fraud:,.0f}",
            stages,
            cost,
        )
    )
    console.print(evaluate.verdict(stages[2].counts, stages[1].counts, cost))


def _model(settings: Settings) -> Path:
    assert settings.model is not None
    return settings.model


def _command(*arguments: object) -> list[str]:
    words = ["-m", "producer_sim", "stream", "--scenario", "paper", *map(str, arguments)]
    return [sys.executable, *words]


def _start(settings: Settings, rate: int) -> subprocess.Popen[str]:
    given = settings.input
    command = _command(
        *("--rate", rate, "--bootstrap-servers", settings.kafka.bootstrap_servers),
        *("--transactions-topic", given.transactions.topic, "--labels-topic", given.labels.topic),
    )
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
