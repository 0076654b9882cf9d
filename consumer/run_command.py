"""The `run` command: the loop in the foreground, with or without a live view."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import structlog
import typer

from consumer import device, live_view, model_directory
from consumer.loop import Loop
from consumer.profile import Profile
from consumer.settings import Settings
from consumer.shutdown import signals
from consumer.status import Status

log = structlog.get_logger()


def run(
    settings: Settings,
    directory: Path,
    *,
    until_end: bool,
    live: bool,
    profile: Profile | None = None,
    json: bool = False,
) -> Status:
    """Consume until a signal or the end; returns the last status.

    A profile is printed on SIGUSR1 and at the end.
    """
    # Until the loop listens; it reads the thresholds at start anyway.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    model = model_directory.load(directory, device.named(settings.device))
    if not len(model.rules):
        log.warning("no rules: conflicts are not watched and the consistency term is off")
    view = live_view.LiveView() if live else None
    on_status = view.update if view else None
    loop = Loop(settings, model, until_end=until_end, on_status=on_status, profile=profile)
    with ExitStack() as around:
        if profile is not None:
            around.enter_context(printed(profile, json=json))
        around.enter_context(signals(loop))
        if view is not None:
            around.enter_context(view)
        status = loop.run()
    log.info("stopped", **status.summary())
    return status


@contextmanager
def printed(profile: Profile, *, json: bool) -> Iterator[None]:
    """On SIGUSR1 and at the end, whatever the end."""

    def show(*_: object) -> None:
        typer.echo(profile.json() if json else profile.table())

    before = signal.signal(signal.SIGUSR1, show)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)
        show()
