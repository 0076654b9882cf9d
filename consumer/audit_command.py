"""The `audit` command: what was checked, how far it differed, and what cannot be explained."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import typer

from consumer import audit_events, audit_report, model_directory
from consumer.audit import Wanted, audit
from consumer.audit_events import Checked
from consumer.audit_report import Period
from consumer.errors import DataError, SettingsError
from consumer.settings import Settings


def events(settings: Settings) -> None:
    """Print what is wrong with the chain of decisions; status 1 where anything is."""
    _chain(audit_events.audit(settings))


def report(settings: Settings, file: Path, from_: str | None, to: str | None) -> None:
    """Write what was decided as a page; status 1 where the chain of decisions is not whole."""
    period = _period(from_, to)
    decisions, found = audit_report.write(settings, period, file)
    typer.echo(f"{decisions:,} decisions in {file}")
    _chain(found)


def _chain(found: Checked) -> None:
    for line in found.wrong:
        typer.echo(f"wrong: {line}")
    typer.echo(_said(found))
    if found.wrong:
        raise typer.Exit(1)


def _said(found: Checked) -> str:
    parts = [f"{found.events:,} events checked, {found.decisions:,} decisions in the chain"]
    for number, what in (
        (found.gone, "before the topic's beginning"),
        (found.doubled, "there twice, alike"),
        (found.outside, "outside the chain"),
    ):
        if number:
            parts.append(f"{number:,} {what}")
    return f"{', '.join(parts)}, {len(found.wrong):,} wrong; head {found.head.sequence} " + (
        f"sha256 {found.head.sha256}"
    )


def run(
    settings: Settings, directory: Path, from_: str | None, to: str | None, id_: str | None
) -> None:
    """Print the audit; status 1 where a score cannot be explained."""
    period = _period(from_, to)
    wanted = Wanted(_ms(period.start), _ms(period.end), id_)
    model_directory.one_thread()
    found = audit(settings, model_directory.load(directory), wanted)
    if not (found.checked or found.unexplained or found.expired):
        which = "no score" if id_ is None else f"no score of transaction {id_!r}"
        when = "" if from_ is None and to is None else " in that period"
        raise DataError(f"{which} on {settings.topic('scores')}{when}")
    for line in found.unexplained:
        typer.echo(f"unexplained: {line}")
    typer.echo(
        f"{found.checked:,} scores checked, largest difference {found.largest_difference:.1e}, "
        f"{len(found.unexplained):,} unexplained"
        + (f", {found.expired:,} expired" if found.expired else "")
    )
    if found.unexplained:
        raise typer.Exit(1)


def _period(from_: str | None, to: str | None) -> Period:
    period = Period(_time("--from", from_), _time("--to", to))
    if period.start is not None and period.end is not None and period.start >= period.end:
        raise SettingsError(f"--from {from_} is not before --to {to}")
    return period


def _time(flag: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(f"{flag} {text!r}: give an ISO 8601 time") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _ms(time: datetime | None) -> int | None:
    return None if time is None else round(time.timestamp() * 1000)
