"""What both command lines share: an error of the user's is one line, never a traceback."""

from __future__ import annotations

import signal
import sys
from typing import NoReturn

import typer
from typer.exceptions import TyperException

from consumer.errors import ReflexiveError

# As a shell reports a process that Ctrl-C ended.
INTERRUPTED = 130


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
