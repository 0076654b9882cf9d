"""An environment for each peer: its own packages first, torch and the rest from .venv behind them.

torch for each would be 5 GB each. A line in a .pth file puts .venv's packages at the end of the
path, so that what a peer brings itself (its own confluent-kafka or numpy too) comes first.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

FOLDER = Path(__file__).parent.parent.parent / "build" / "peers"
MOST_S = 300
# By module: what is installed. Not named here: what .venv has already.
WANTED = {
    "bytewax": ("bytewax[kafka]==0.21.1",),
    "aiokafka": ("aiokafka[lz4]==0.14.0",),
    "quixstreams": ("quixstreams==3.28.1",),
    "faststream": ("faststream[confluent]==0.7.8",),
    "faust": ("faust-streaming[fast]==0.15.3", "cramjam==2.14.0"),  # for lz4
    "pathway": ("pathway==0.33.0",),
}


def python(peer: str) -> Path:
    """The interpreter of a peer's environment, made where it is missing.

    Raises: RuntimeError, with the end of what pip said, where it cannot be installed.
    """
    folder = FOLDER / peer
    interpreter, done = folder / "bin" / "python", folder / ".installed"
    wanted = "\n".join(WANTED[peer])
    if done.exists() and done.read_text() == wanted:
        return interpreter
    venv.create(folder, with_pip=True, clear=True)
    words = (
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--quiet",
        "--only-binary=:all:",
    )
    try:
        subprocess.run(
            [interpreter, *words, *WANTED[peer]],
            check=True,
            capture_output=True,
            text=True,
            timeout=MOST_S,
        )
    except subprocess.CalledProcessError as error:
        raise RuntimeError(" / ".join(error.stderr.splitlines()[-3:])) from error
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"not installed within {MOST_S} s") from error
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    shared = folder / "lib" / version / "site-packages" / "shared.pth"
    shared.write_text(sysconfig.get_path("purelib") + "\n")
    done.write_text(wanted)
    return interpreter


def versions(peer: str) -> str:
    """What its environment has of what matters here, as its own interpreter finds it."""
    names = sorted({"confluent-kafka", "numpy", "torch", *map(_name, WANTED[peer])})
    code = (
        "import sys; from importlib.metadata import version; "
        "print([version(name) for name in sys.argv[1:]])"
    )
    told = subprocess.run(
        [python(peer), "-c", code, *names], check=True, capture_output=True, text=True
    )
    found: list[str] = ast.literal_eval(told.stdout)
    return ", ".join(f"{name} {version}" for name, version in zip(names, found, strict=True))


def _name(requirement: str) -> str:
    return re.split(r"[\[=]", requirement)[0]
