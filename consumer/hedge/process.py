"""Heals in a process of their own, at the lowest priority.

A thread would share the interpreter's lock with scoring: at a low priority it is put aside by other
processes while it holds the lock, and rows wait for it. A process shares nothing: neither the lock,
nor memory, nor what befalls it. Rows and numbers travel as bytes (`consumer/frames.py`).

    worker thread ── HealRequest ─▶ pipe ─▶ process: experts learn, the gate judges ─▶ pipe ─▶ Heal
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, Any

import torch

from consumer import frames, model_directory
from consumer.errors import ModelError
from consumer.heal import CancelledError, never
from consumer.hedge.healer import Heal, Healer, HealRequest
from consumer.mixture import Mixture
from consumer.model_directory import Model
from consumer.segments import Segments
from consumer.settings import Segment, Settings
from consumer.worker import NICENESS, FailedError

# How soon a heal that was called off, or a process that has died, is noticed.
LOOK_S = 0.05
# numpy's products would take every core there is, beside a torch that is held to one.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
# Where memory runs out the kernel ends what heals, and not what scores.
_OOM_SCORE, _OOM_ADJUST = Path("/proc/self/oom_score_adj"), "500"


class HealingProcess:
    """Used from the worker's thread; `start` and `close` while no heal is in flight."""

    def __init__(self, settings: Settings, model: Model) -> None:
        self._about = {
            "model": str(model.directory),
            "model_version": model.manifest.model_version,
            "device": str(model.device),
            "segments": {n: each.model_dump() for n, each in settings.segments.items()},
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Have it load the model, some seconds: before the first heal is asked for."""
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        # As here: a team's own model may lie anywhere.
        path = os.pathsep.join(each or str(Path.cwd()) for each in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, **_ONE_THREAD, "PYTHONPATH": path},
        )
        given, answers = self._pipes
        frames.write(given.fileno(), self._about, {})
        for pipe in given, answers:
            os.set_blocking(pipe.fileno(), False)

    def heal(self, request: HealRequest, cancelled: Callable[[], bool]) -> Heal:
        """Wait for a heal. Raises: CancelledError; FailedError, also where the process has died.

        The next heal begins another process where this one is gone.
        """
        self.start()
        given, answers = self._pipes
        try:
            frames.write(given.fileno(), *request.framed(), partial(_wait, [], [given], cancelled))
            about, arrays = frames.read(answers.fileno(), partial(_wait, [answers], [], cancelled))
        except (BrokenPipeError, EOFError) as error:
            raise FailedError(f"the process that heals has ended ({self._ended()})") from error
        except CancelledError:
            self.close()
            raise
        if "failed" in about:
            raise FailedError(about["failed"])
        return Heal.of_frame(about, arrays)

    def close(self) -> None:
        """End it, whatever it does."""
        if self._process is None:
            return
        process, self._process = self._process, None
        process.kill()
        with process:  # closes the pipes and waits
            pass

    @property
    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        return self._process.stdin, self._process.stdout

    def _ended(self) -> str:
        assert self._process is not None
        code = self._process.wait()
        return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def _wait(read: list[Any], write: list[Any], cancelled: Callable[[], bool]) -> None:
    while not any(select.select(read, write, [], LOOK_S)):
        if cancelled():
            raise CancelledError


def main() -> None:
    """Answer requests until the process that scores is gone."""
    # What a team's own model prints is no answer.
    answers = os.dup(1)
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who scores, and it ends us
    os.nice(NICENESS)
    if sys.platform == "linux":
        # Who wakes up beside a process that is merely nice may wait for the end of its slice, 3 ms.
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with suppress(OSError):
        _OOM_SCORE.write_text(_OOM_ADJUST)
    with suppress(EOFError, BrokenPipeError):
        _serve(0, answers)


def _serve(requests: int, answers: int) -> None:
    about, _ = frames.read(requests)
    healer = None
    with suppress(ModelError):  # it is said where a heal is asked for
        healer = _healer(about)
    while True:
        told, arrays = frames.read(requests)
        try:
            healer = healer or _healer(about)
            answer = healer.heal(HealRequest.of_frame(told, arrays), never).framed()
        except Exception as error:
            # Whatever fails here is one heal that is refused, and said.
            answer = {"failed": f"{type(error).__name__}: {error}"}, {}
        frames.write(answers, *answer)


def _healer(about: dict[str, Any]) -> Healer:
    model_directory.one_thread()
    directory = Path(about["model"])
    model = model_directory.load(directory, torch.device(about["device"]))
    if model.manifest.model_version != about["model_version"]:
        raise ModelError(
            f"{directory} holds model {model.manifest.model_version} by now, and "
            f"{about['model_version']} scores: start the consumer again"
        )
    segments = {name: Segment(**each) for name, each in about["segments"].items()}
    return Healer(Mixture(model), Segments(segments, model.features))


if __name__ == "__main__":
    main()
