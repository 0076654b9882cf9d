"""Heals in a process of their own: the same heals, and nothing that befalls it befalls scoring."""

import os
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from consumer import model_directory
from consumer.experts.base import Learning
from consumer.heal import CancelledError, never
from consumer.hedge import process as process_room
from consumer.hedge.healer import Healer, HealRequest
from consumer.hedge.memory import eighth
from consumer.hedge.process import HealingProcess
from consumer.mixture import FROZEN, Mixture
from consumer.segments import Segments
from consumer.worker import FailedError
from tests.streams import (
    FEATURES,
    RULE,
    V14,
    events,
    idle,
    labels_of,
    model,
    running,
    score,
    settings,
    stream,
)

HEDGE = settings({"heal.policy": "hedge", "segments.v3.feature": "V3", "segments.v3.cuts": [0.0]})


def saved(directory, given):
    """A model as a user has it: in a directory."""
    model_directory.save(
        directory,
        given.module,
        features=FEATURES,
        rules=[RULE],
        watched=["V14"],
        reference=(given.manifest.reference, given.trained),
        training={},
    )
    return model_directory.load(directory)


@pytest.fixture
def ours(tmp_path):
    return saved(tmp_path / "model", model())


@pytest.fixture
def process(ours, monkeypatch):
    # Beside other tests on every core it would hardly get on.
    monkeypatch.setattr(process_room, "GIVES_WAY", False)
    process = HealingProcess(HEDGE, ours)
    yield process
    process.close()


NONE = np.empty((0, 0), np.float32)  # no rows without labels


def learning(rows=600):
    given = stream(rows, drift=2.2, seed=3)
    return Learning(
        given.transactions.x,
        given.labels.is_fraud.astype(np.float32),
        np.ones(rows, np.float32),
        eighth(given.transactions.offset),
        np.zeros((rows, 0), np.uint8),
    )


def wait_for(reached, within_s):
    deadline = time.monotonic() + within_s
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def request():
    return HealRequest(
        {"regime": learning(), "all": learning(400)}, {FROZEN: {}}, 7, learning(60).x
    )


def test_a_heal_is_the_one_that_would_have_been_made_here(process, ours):
    there = process.heal(request(), never)
    again = process.heal(HealRequest({"regime": learning()}, dict(there.states), 8, NONE), never)

    segments = Segments(HEDGE.segments, ours.features)
    here = Healer(Mixture(ours), segments, ours.trained).heal(request(), never)
    assert [(v.expert, v.admitted, v.reason) for v in there.verdicts] == [
        (v.expert, v.admitted, v.reason) for v in here.verdicts
    ]
    assert (there.rows, there.frauds, there.harmful) == (here.rows, here.frauds, here.harmful)
    assert there.reach.tolist() == here.reach.tolist()
    assert again.reach is None  # of one regime's rows alone
    assert there.skill == pytest.approx(here.skill, abs=1e-6)
    assert list(there.states) == list(here.states) != []
    for name, state in here.states.items():
        for key, tensor in state.items():
            torch.testing.assert_close(there.states[name][key], tensor)
    # What was learnt travels back: the next heal of an expert is judged against it.
    assert {v.expert for v in again.verdicts} == {v.expert for v in here.verdicts} - {"long_memory"}


def test_a_process_that_dies_is_a_heal_that_failed_and_the_next_one_has_another(process):
    process.start()
    first = process._process
    first.send_signal(signal.SIGSTOP)  # or it might be done before

    def killed():
        first.kill()
        return False

    with pytest.raises(FailedError, match=r"the process that heals has ended \(SIGKILL\)"):
        process.heal(request(), killed)

    assert process.heal(request(), never).states
    assert process._process is not first


def test_who_died_between_two_heals_is_missed_by_neither(process):
    process.start()
    process._process.kill()
    process._process.wait()
    assert process.heal(request(), never).states


def test_a_heal_that_is_called_off_ends_at_once_and_its_process_with_it(process):
    process.start()
    child = process._process
    child.send_signal(signal.SIGSTOP)  # it would never answer
    since = time.monotonic()

    def cancelled():
        return time.monotonic() > since + 0.2

    with pytest.raises(CancelledError):
        process.heal(request(), cancelled)
    assert child.returncode == -signal.SIGKILL


def test_what_fails_in_a_heal_is_said_and_the_process_goes_on(process):
    wrong = HealRequest({"regime": learning()}, {"adapter": {"slope": torch.ones(1)}}, 1, NONE)
    with pytest.raises(FailedError, match="KeyError"):
        process.heal(wrong, never)

    child = process._process.pid
    assert process.heal(request(), never).states
    assert process._process.pid == child


def test_another_model_in_the_directory_heals_nothing(process, ours):
    other = model()
    with torch.no_grad():
        next(other.module.parameters()).add_(0.5)
    saved(ours.directory, other)
    with pytest.raises(FailedError, match=r"holds another model by now \(\w{12}\) than the one"):
        process.heal(request(), never)


def test_once_loaded_it_gives_way_to_whatever_else_runs(ours):
    process = HealingProcess(HEDGE, ours)
    process.start()
    child = process._process.pid
    try:
        wait_for(lambda: os.getpriority(os.PRIO_PROCESS, child) == 19, 60)
        if hasattr(os, "SCHED_IDLE"):
            wait_for(lambda: os.sched_getscheduler(child) == os.SCHED_IDLE, 60)
    finally:
        process.close()


def test_what_a_supervisor_tells_every_process_ends_no_heal(process):
    process.heal(request(), never)
    child = process._process
    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        child.send_signal(each)
    assert process.heal(request(), never).states
    assert process._process is child


def test_it_ends_with_who_scores_whatever_ended_that(process):
    process.heal(request(), never)
    process._process.stdin.close()  # as the kernel does for who was killed
    assert process._process.wait(60) == 0


def test_beside_a_stream_heals_are_deployed_and_the_process_ends_with_the_policy(ours, monkeypatch):
    monkeypatch.setattr(process_room, "GIVES_WAY", False)
    given = stream(600, drift=2.2, seed=5)
    x = given.transactions.x.copy()
    x[:300, V14] += 2.2 * (given.labels.is_fraud[:300] == 0)
    deployed = []
    flags = {"heal.policy": "hedge", "heal.mode": "threaded"}
    with running(flags, of=ours) as pipeline:
        child = pipeline.healing._process._process
        for batch in replace(given, transactions=replace(given.transactions, x=x)).batches():
            score(pipeline, batch)
            labels_of(pipeline, batch)
            pipeline.healing.settle(idle)  # or all would be through before it has begun
            deployed += events(pipeline.take(), "heal-deployed")
        assert child.poll() is None
    assert deployed
    assert child.returncode is not None
