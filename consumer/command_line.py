"""What both command lines share: an error of the user's is one line, never a traceback."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer
from typer.exceptions import TyperException

from consumer.errors import ReflexiveError

# As a shell reports a process that Ctrl-C ended.
INTERRUPTED = 130


@contextmanager
def importing() -> Iterator[None]:
    """Within, a signal ends the process at once: nothing was begun yet.

    An exception within numpy's own import is swallowed there, and leaves half a module behind.
    """

    def leave(*_: object) -> None:
        os._exit(INTERRUPTED)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(app: typer.Typer) -> NoReturn:
    """Run a command; status 1 for an error it met, 2 where the command line itself is wrong."""
    # As process 1 of a container a Python program would not hear SIGTERM.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        status = app(standalone_mode=False)
    except ReflexiveError as error:
        print(f"error: {error}", file=sys.stderr)
        status = 1
    except TyperException as error:
        # Without a command the help has been shown, and the message is empty.
        if message := error.format_message():
            print(f"error: {message}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        status = INTERRUPTED
    sys.exit(status)
