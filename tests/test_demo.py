"""The demo, as a newcomer runs it: faster, but through the same processes and broker."""

import subprocess
import sys
from pathlib import Path


def test_the_demo_ends_with_its_table_and_eight_plots(tmp_path: Path) -> None:
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
    assert [name[0] for name in plots] == list("12345678")
    for name in ("metrics.csv", "events.json", "threshold_config.json"):
        assert (out / "export" / name).stat().st_size > 0
