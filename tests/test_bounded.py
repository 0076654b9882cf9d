"""Calls that may never come back: in turn, beside other work, and given up on."""

import threading
import time

import pytest

from consumer.kafka.bounded import Bounded, Unanswered


@pytest.fixture
def bounded():
    made = Bounded()
    yield made
    made.close()


def test_calls_are_made_in_turn_while_something_else_is_done(bounded):
    done, went_on = [], threading.Event()

    def first():
        assert went_on.wait(10)  # the caller does not wait for us first
        done.append(1)

    def second():
        done.append(2)
        return "found"

    assert bounded((10, first), (10, second), meanwhile=went_on.set) == "found"
    assert done == [1, 2]


def test_after_a_call_that_fails_the_next_one_is_not_made(bounded):
    done = []

    def fails():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        bounded((10, fails), (10, lambda: done.append(1)))
    assert bounded((10, lambda: "again")) == "again"
    assert not done


def test_a_call_that_comes_back_too_late_is_the_last(bounded):
    done, let_go = [], threading.Event()

    with pytest.raises(Unanswered, match=r"within 0\.05 s"):
        bounded((0.05, lambda: let_go.wait(10)), (10, lambda: done.append(1)))
    let_go.set()
    time.sleep(0.2)
    assert not done


def test_a_call_can_give_up_on_itself(bounded):
    done = []

    def gives_up():
        bounded.give_up()
        done.append(1)  # type: ignore[unreachable]

    with pytest.raises(Unanswered):
        bounded((60, gives_up), (60, lambda: done.append(2)))
    time.sleep(0.2)
    assert not done


def test_what_fails_beside_a_call_is_raised_once_the_call_has_ended(bounded):
    done = []

    def beside():
        raise KeyError("beside")

    with pytest.raises(KeyError, match="beside"):
        bounded((10, lambda: done.append(time.sleep(0.05))), meanwhile=beside)
    assert done
    assert bounded((10, lambda: "next")) == "next"
