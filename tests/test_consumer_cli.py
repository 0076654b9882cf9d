"""The consumer's command line: an error of the user's is one line that names it and the way out."""

import inspect
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from consumer import people_command, standing
from consumer.settings import load
from tests.integration import consuming

SEGMENTS = """{ age = { feature = "V1", cuts = [25.0, 65.0] }, \
land = { path = "card.country", values = ["DE", "FR"] } }"""


def run(*arguments: str) -> tuple[int, list[str]]:
    """`python -m consumer …`: status, and the lines on standard error."""
    ended = subprocess.run(
        [sys.executable, "-m", "consumer", *arguments], capture_output=True, text=True, timeout=30
    )
    assert "Traceback" not in ended.stderr
    return ended.returncode, ended.stderr.strip().splitlines()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], "no model: name a model directory with --model"),
        (["train", "--data", "d.csv", "--out", "m", "--seed", "9" * 23], "'--seed'"),
        (["run", "--model", "m", "--set", "watch.fidi_z=high"], "setting watch.fidi_z:"),
        (["run", "--model", "m", "--set", "watch.fidi=1"], "setting watch.fidi:"),
        (["run", "--model", "m", "--set", "nonsense"], "expected SECTION.KEY=VALUE"),
        (["run", "--model", "m", "--settings", "nowhere.toml"], "nowhere.toml"),
        (["run", "--order", "sideways"], "'sideways' is not one of 'arrival', 'event_time'"),
        (["train", "--data", "nowhere.csv", "--out", "m"], "nowhere.csv: no such file"),
        (["retrain"], "retrain"),
    ],
)
def test_a_wrong_command_line_is_one_line(arguments: list[str], said: str) -> None:
    status, lines = run(*arguments)
    assert status in (1, 2)
    assert lines[-1].startswith("error: ")
    assert said in lines[-1]


def test_an_unreachable_broker_is_said(tmp_path: Path) -> None:
    consuming.model(tmp_path / "model")
    status, lines = run(
        *("run", "--model", str(tmp_path / "model"), "--bootstrap-servers", "127.0.0.1:1")
    )
    assert status == 1
    assert lines[-1].startswith("error: no Kafka broker answers at 127.0.0.1:1")


def test_a_wrong_model_directory_is_named(tmp_path: Path) -> None:
    status, lines = run("run", "--model", str(tmp_path / "nowhere"))
    assert status == 1
    assert f"model directory {tmp_path / 'nowhere'}" in lines[-1]
    assert "python -m consumer train" in lines[-1]


def test_a_folder_for_the_model_is_made_before_training(tmp_path: Path) -> None:
    data = tmp_path / "rows.csv"
    data.write_text("V14,is_fraud\n" + "1,0\n-3,1\n" * 20)
    status, lines = run("train", "--data", str(data), "--out", str(data / "model"))
    assert status == 1
    assert lines[-1] == f"error: model directory {data / 'model'}: Not a directory"
    assert not any("training" in line for line in lines)


def test_secrets_are_masked_in_the_first_line(tmp_path: Path) -> None:
    _, lines = run(
        *("run", "--model", str(tmp_path), "--set", "kafka.properties.sasl.password=hunter2"),
    )
    assert not any("hunter2" in line for line in lines)
    assert any("sasl.password" in line and "***" in line for line in lines)


def test_the_settings_page_is_a_settings_file_that_changes_nothing(tmp_path: Path) -> None:
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "consumer", "settings", "--set", "watch.fidi_z=3"),
            *("--set", "kafka.properties.ssl.ca.location=/ca.pem"),
            *("--set", "kafka.properties.sasl.password=hunter2", "--set", f"segments={SEGMENTS}"),
        ],
        capture_output=True,
        text=True,
        timeout=30,
    )
    file = tmp_path / "reflexive.toml"
    file.write_text(ended.stdout)
    given = {"watch.fidi_z": 3, "kafka.properties.ssl.ca.location": "/ca.pem"}
    given |= {"segments": tomllib.loads(f"it = {SEGMENTS}")["it"]}
    assert load(file) == load(None, given)
    assert "Default: 1.0." in ended.stdout
    # A secret is no part of it: `***` would be taken for the password.
    assert "hunter2" not in ended.stdout
    assert "Not shown here, as secrets: sasl.password." in " ".join(ended.stdout.split("\n# "))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_within_an_import_ends_the_process_at_once(number: signal.Signals) -> None:
    """Whatever swallows exceptions there, as numpy's own import does."""
    program = (
        "import os\nfrom consumer.command_line import importing\n"
        f"with importing():\n    try:\n        os.kill(os.getpid(), {int(number)})\n"
        "    except BaseException:\n        pass\n"
        "print('went on')"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=30)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, b"", b"")


def test_each_answer_to_what_waits_is_an_order_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same may wait again, in a regime that is back: a known id would be passed over."""
    sent: list[str] = []
    monkeypatch.setattr(standing, "send", lambda _, order: sent.append(order["command_id"]))
    for answer in (people_command.approve, people_command.reject):
        for _ in range(2):
            inspect.unwrap(answer)(load(), "alignment-1", "the figures hold", "ann")

    assert len(set(sent)) == 4
