"""`python -m consumer …` as a person runs it."""

import subprocess
import sys
from typing import NamedTuple


class Ended(NamedTuple):
    """How a command ended."""

    status: int
    out: list[str]
    error: list[str]


def run(*arguments: str) -> Ended:
    """Run a command; whatever went wrong, it is no traceback."""
    ended = subprocess.run(
        [sys.executable, "-m", "consumer", *arguments], capture_output=True, text=True, timeout=60
    )
    assert "Traceback" not in ended.stderr
    return Ended(ended.returncode, ended.stdout.splitlines(), ended.stderr.splitlines())


def refused(*arguments: str) -> str:
    """Run a command that must end with one line of error and status 1."""
    ended = run(*arguments)
    assert (ended.status, ended.out) == (1, []), ended
    (line,) = [line for line in ended.error if line.startswith("error: ")]
    assert line == ended.error[-1]
    return line
