"""A signal ends the process in time, whatever holds it."""

import subprocess
import sys

# PyDLL calls with Python's lock held: no other thread of Python's comes to its turn.
HELD = """
import ctypes, os, signal
from types import SimpleNamespace
from consumer import shutdown

shutdown.PATIENCE_S, shutdown.LOCKED_S = 0.1, 0.4
with shutdown.signals(SimpleNamespace(stop=lambda _: None)):
    os.kill(os.getpid(), signal.SIGTERM)
    {library}(None).sleep(60)
"""


def ended(library: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", HELD.format(library=library)],
        capture_output=True,
        text=True,
        timeout=50,
    )


def test_where_no_answer_comes_it_is_said_and_ended():
    found = ended("ctypes.CDLL")
    assert found.returncode == 1
    assert found.stderr.startswith("error: no end within 0.1 s of the signal")


def test_where_pythons_lock_is_held_it_is_ended_and_shown_where():
    found = ended("ctypes.PyDLL")
    assert found.returncode == 1
    assert "Timeout" in found.stderr
    assert 'File "<string>", line 9' in found.stderr
