"""The demo, as a newcomer runs it: faster, but through the same processes and broker."""

import subprocess
import sys
from pathlib import Path

from tests.integration.commands import refused


def test_the_demo_ends_with_its_table_and_nine_plots(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    ended = subprocess.run(
        [sys.executable, "-m", "consumer", "demo", "--out", str(out), "--rate", "1000"],
        capture_output=True,
        text=True,
        timeout=85,
    )
    assert ended.returncode == 0, ended.stderr
    frozen = next(line for line in ended.stdout.splitlines() if "drifted, frozen" in line)
    assert frozen.split()[2:6] == ["0.446", "0.194", "0.853", "0.316"]
    assert "drifted, healed" in ended.stdout
    plots = sorted(file.name for file in (out / "export").glob("*.png"))
    assert [name[0] for name in plots] == list("123456789")
    for name in ("metrics.csv", "events.json", "threshold_config.json"):
        assert (out / "export" / name).stat().st_size > 0


def test_told_to_stop_it_leaves_without_judging_half_a_story(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "consumer", "demo", "--out", str(tmp_path), "--rate", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as it:
        assert it.stdout is not None
        assert any("the stream drifts" in line for line in it.stdout)
        it.terminate()
        out, error = it.communicate(timeout=60)
    assert it.returncode == 130, error
    assert "what it came to" not in out
    assert "Traceback" not in error


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = refused("demo", "--out", str(tmp_path / "file" / "demo"))
    assert said.endswith("file/demo: Not a directory. Name another: --out")
