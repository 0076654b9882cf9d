"""The simulator's command line: files, and errors that are one line."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from producer_sim.__main__ import main

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """`run("stream", ...)` gives the status and what was said on standard error."""

    def run_(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["producer_sim", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        assert shown.out == ""
        code = ended.value.code or 0
        assert isinstance(code, int)
        return code, shown.err

    before = signal.getsignal(signal.SIGTERM)
    yield run_
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["stream", "--scenario", "sudden"], "'sudden' is not one of 'paper', 'seed'"),
        (["stream", "--rows", "-1"], "--rows"),
        (["stream", "--rows", "many"], "--rows"),
        (["stream", "--drift-strength", "nan"], "--drift-strength"),
        (["stream", "--label-fraction", "1.5"], "--label-fraction"),
        (["stream", "--label-noise", "-0.1"], "--label-noise"),
        (["stream", "--label-delay", "soon"], "'soon' is not a duration: give 0, 30s"),
        (["stream", "--rate", "0"], "--rate '0': give transactions a second"),
        (["stream", "--seed", "-1"], "--seed"),
        (["stream", "--no-publish"], "nothing to do"),
        (["stream", "--no-publish", "--train-out", "/nowhere/t.csv"], "/nowhere/t.csv cannot"),
        (["stream", "--settings", "nowhere.toml"], "nowhere.toml"),
        (["stream", "--speed", "9"], "--speed"),
        (["strem"], "'strem'"),
        (["replay"], "'file'"),
        (["replay", "nowhere.csv"], "nowhere.csv: no such file"),
        (["replay", __file__], "no column 'transaction_id': name it with --id-column"),
        (["replay", "nowhere.csv", "--start", "soon"], "'soon' is not a time"),
    ],
)
def test_a_wrong_command_line_is_one_line_that_names_it(
    run: Run, arguments: list[str], said: str
) -> None:
    status, shown = run(*arguments)
    assert status in (1, 2)
    assert shown.startswith("error: ")
    assert len(shown.splitlines()) == 1
    assert said in shown


def test_a_broker_that_is_not_there_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFLEXIVE__KAFKA__CONNECT_TIMEOUT_S", "1")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{unused.getsockname()[1]}"
        start = time.monotonic()
        status, shown = run("stream", "--bootstrap-servers", nobody)
    # By default the wait is 10 s.
    assert time.monotonic() - start < 5
    assert status == 1
    assert shown.startswith(f"error: no Kafka broker answers at {nobody}")
    assert "--bootstrap-servers" in shown
    assert len(shown.splitlines()) == 1


def test_files_need_no_broker_and_come_out_the_same_in_any_process(
    run: Run, tmp_path: Path
) -> None:
    def arguments(name: str) -> list[str]:
        folder = tmp_path / name
        folder.mkdir()
        outs = [
            argument
            for part in ("train", "test", "drifted")
            for argument in (f"--{part}-out", str(folder / f"{part}.csv"))
        ]
        return ["stream", "--no-publish", "--bootstrap-servers", "127.0.0.1:1", *outs]

    def files(name: str) -> list[bytes]:
        return [
            (tmp_path / name / f"{part}.csv").read_bytes() for part in ("train", "test", "drifted")
        ]

    status, shown = run(*arguments("here"))
    assert (status, len(shown.splitlines())) == (0, 3)
    program = [sys.executable, "-m", "producer_sim", *arguments("elsewhere")]
    subprocess.run(program, check=True, capture_output=True)
    assert files("here") == files("elsewhere")
    assert [len(content.splitlines()) for content in files("here")] == [5_001, 1_001, 1_001]
