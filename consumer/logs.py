"""Logging to standard error: console for a person, JSON lines otherwise."""

from __future__ import annotations

import logging
import sys

import structlog

from consumer.sections import Log


def configure(settings: Log) -> None:
    """Set structlog up for the process.

    Source: https://www.structlog.org/en/stable/logging-best-practices.html
    """
    console = settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelName(settings.level.upper())
        ),
        # Looked up at every call: a live view puts itself in front of sys.stderr while it shows.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )
