"""Heals in a process of their own, at the lowest priority once it has loaded the model.

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
from pathlib import Path
from typing import IO, Any

import torch

from consumer import frames, model_directory, states
from consumer.errors import ModelError
from consumer.heal import CancelledError
from consumer.hedge.healer import Heal, Healer, HealRequest
from consumer.mixture import Mixture
from consumer.model_directory import Model
from consumer.sections import Segment
from consumer.segments import Segments
from consumer.settings import Settings
from consumer.worker import NICENESS, FailedError

# Loading takes seconds of a processor, which a busy machine may never leave to the lowest priority.
LOADING = 5
GIVES_WAY = True  # but beside tests on every core, where it would hardly get on
# How soon a heal that was called off is noticed.
LOOK_MS = 50
# What is killed ends when it next gets the processor, and at its priority that may take a while:
# nobody waits longer for it.
GONE_S = 1.0
# numpy's products would take every core there is, beside a torch that is held to one.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
# Where memory runs out the kernel ends what heals, and not what scores.
_OOM_SCORE, _OOM_ADJUST = Path("/proc/self/oom_score_adj"), "500"


class HealingProcess:
    """Used from the worker's thread; `start` and `close` while no heal is in flight."""

    def __init__(self, settings: Settings, model: Model) -> None:
        self._about = {
            "model": str(model.directory),
            "manifest": _hash(model),
            "gives_way": GIVES_WAY,
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
            [sys.executable, "-P", "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, **_ONE_THREAD, "PYTHONPATH": path},
            process_group=0,  # Ctrl-C is for who scores, and it ends us
        )
        given, answers = self._pipes
        # It is less than a pipe holds: nobody has to read it yet.
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
            frames.write(given.fileno(), *request.framed(), _wait(given, select.POLLOUT, cancelled))
            about, arrays = frames.read(answers.fileno(), _wait(answers, select.POLLIN, cancelled))
        except (BrokenPipeError, EOFError) as error:
            raise FailedError(f"the process that heals has ended ({self._ended()})") from error
        except BaseException:
            self.close()  # half a frame may lie in the pipe
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
        for pipe in filter(None, (process.stdin, process.stdout)):
            pipe.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(GONE_S)

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


def _wait(pipe: IO[bytes], for_what: int, cancelled: Callable[[], bool]) -> Callable[[], None]:
    poll = select.poll()
    poll.register(pipe, for_what)

    def ready() -> None:
        while not cancelled():
            if poll.poll(LOOK_MS):
                return
        raise CancelledError

    return ready


def main() -> None:
    """Answer requests until the process that scores is gone."""
    # Supervisors tell every process to stop; who scores may still want the heal that is under way.
    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    # What a team's own model prints is no answer.
    answers = os.dup(1)
    os.dup2(2, 1)
    os.nice(LOADING)
    with suppress(OSError):  # there is none but on Linux
        _OOM_SCORE.write_text(_OOM_ADJUST)
    with suppress(EOFError, BrokenPipeError):
        _serve(0, answers)


def _serve(requests: int, answers: int) -> None:
    about, _ = frames.read(requests)
    healer = None
    with suppress(Exception):  # it is said where a heal is asked for
        healer = _healer(about)
    if about["gives_way"]:
        _give_way()
    scoring = select.poll()
    scoring.register(requests, 0)  # only that the other end is closed

    def alone() -> bool:
        return bool(scoring.poll(0))

    while True:
        told, arrays = frames.read(requests)
        try:
            healer = healer or _healer(about)
            answer = healer.heal(HealRequest.of_frame(told, arrays), alone).framed()
        except Exception as error:
            # Whatever fails here is one heal that is refused, and said.
            answer = {"failed": f"{type(error).__name__}: {error}"}, {}
        frames.write(answers, *answer)


def _give_way() -> None:
    os.nice(NICENESS - LOADING)
    if sys.platform == "linux":
        with suppress(OSError):  # a sandbox may not know it
            # Who wakes up beside a process that is merely nice may wait for its slice's end, 3 ms.
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _healer(about: dict[str, Any]) -> Healer:
    model_directory.one_thread()
    directory = Path(about["model"])
    model = model_directory.load(directory, torch.device(about["device"]))
    if _hash(model) != about["manifest"]:
        raise ModelError(
            f"{directory} holds another model by now ({model.manifest.model_version}) than the one "
            "that scores: start the consumer again"
        )
    segments = {name: Segment(**each) for name, each in about["segments"].items()}
    return Healer(Mixture(model), Segments(segments, model.features), model.trained)


def _hash(model: Model) -> str:
    return states.sha256(model.manifest.model_dump_json().encode())


if __name__ == "__main__":
    main()
