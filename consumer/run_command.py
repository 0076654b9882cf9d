"""The `run` command: the loop in the foreground, with or without a live view."""

from __future__ import annotations

import signal
from pathlib import Path

import structlog

from consumer import live_view, model_directory
from consumer.loop import Loop
from consumer.settings import Settings
from consumer.shutdown import signals
from consumer.status import Status

log = structlog.get_logger()


def run(settings: Settings, directory: Path, *, until_end: bool, live: bool) -> Status:
    """Consume until a signal or the end; returns the last status."""
    # Until the loop listens; it reads the thresholds at start anyway.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    model = model_directory.load(directory)
    if not len(model.rules):
        log.warning("no rules: conflicts are not watched and the consistency term is off")
    view = live_view.LiveView() if live else None
    loop = Loop(settings, model, until_end=until_end, on_status=view.update if view else None)
    with signals(loop):
        if view is None:
            status = loop.run()
        else:
            with view:
                status = loop.run()
    log.info("stopped", **status.summary())
    return status
