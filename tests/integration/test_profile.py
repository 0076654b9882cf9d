"""A run tells where its time went, where it is asked to."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import orjson

from consumer.loop import Loop
from consumer.profile import STAGES, Profile
from tests.broker import Broker
from tests.conftest import CreateTopics, Names
from tests.integration import consuming

ROWS = 1_200


def test_every_stage_of_a_run_is_timed(
    broker: Broker, names: Names, create_topics: CreateTopics, tmp_path: Path
) -> None:
    create_topics(names.transactions, names.labels)
    settings = consuming.settings(broker.bootstrap, names, heal__mode="inline")
    consuming.send(settings, consuming.drifting(ROWS, seed=3), range(ROWS))
    profile = Profile()
    loop = Loop(settings, consuming.model(tmp_path / "model"), until_end=True, profile=profile)
    loop.run()
    figures = orjson.loads(profile.json())
    assert figures["rows"] == ROWS == len(consuming.messages(settings, "scores"))
    assert set(figures["stages"]) == set(STAGES)
    assert all(seconds > 0 for seconds in figures["stages"].values())
    assert abs(sum(figures["stages"].values()) - figures["seconds"]) < 1e-6
    assert figures["cpu_seconds"] > 0


def test_a_process_prints_it_at_the_end_and_on_a_signal(
    broker: Broker, names: Names, create_topics: CreateTopics, tmp_path: Path
) -> None:
    create_topics(names.transactions, names.labels)
    settings = consuming.settings(broker.bootstrap, names)
    consuming.model(tmp_path / "model")
    consuming.send(settings, consuming.rows(ROWS, seed=3), range(ROWS))
    command = [
        *(sys.executable, "-m", "consumer", "run", "--model", str(tmp_path / "model")),
        *("--bootstrap-servers", broker.bootstrap, "--application-id", names.application_id),
        *("--transactions-topic", names.transactions, "--labels-topic", names.labels),
        *("--set", f"heal.policy={settings.heal.policy}"),
    ]
    process = subprocess.Popen(
        [*command, "--profile"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    assert process.stdout is not None
    for line in process.stderr:
        if "partitions-assigned" in line:
            break
    os.kill(process.pid, signal.SIGUSR1)
    first = [next(process.stdout) for _ in range(len(STAGES) + 3)]
    process.terminate()
    last, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    for table in (first, last.splitlines()):
        assert [line.split()[0] for line in table[1:-2]] == list(STAGES)

    ended = subprocess.run(
        [*command, "--until-end"], capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout == ""
