"""Orders to a running consumer, and where it stands: over its topics, from anywhere."""

from __future__ import annotations

import getpass
import time
import uuid
from typing import Annotated, Any

import orjson
import typer

from consumer import options
from consumer.options import ApplicationId, BootstrapServers, Set, SettingsFile

app = typer.Typer(rich_markup_mode=None)

Why = Annotated[str, typer.Option(help="Why: it stands in the event, for the auditor.")]
By = Annotated[str | None, typer.Option(help="Who orders it; default: your login name.")]
Waiting = Annotated[str, typer.Argument(help="What waits, as `status` names it: heal-7.")]


@app.command()
def approve(
    waiting: Waiting,
    why: Why,
    by: By = None,
    bootstrap_servers: BootstrapServers = None,
    application_id: ApplicationId = None,
    settings: SettingsFile = None,
    set_: Set = None,
) -> None:
    """Let a heal that waits for approval count."""
    order = {"command": "approve", "approval_id": waiting, "command_id": f"approve-{waiting}"}
    _send(order, why, by, bootstrap_servers, application_id, settings, set_)


@app.command()
def reject(
    waiting: Waiting,
    why: Why,
    by: By = None,
    bootstrap_servers: BootstrapServers = None,
    application_id: ApplicationId = None,
    settings: SettingsFile = None,
    set_: Set = None,
) -> None:
    """Discard a heal that waits for approval."""
    order = {"command": "reject", "approval_id": waiting, "command_id": f"reject-{waiting}"}
    _send(order, why, by, bootstrap_servers, application_id, settings, set_)


@app.command()
def pin(
    why: Why,
    version: Annotated[int | None, typer.Argument(help="Default: the one in force.")] = None,
    by: By = None,
    bootstrap_servers: BootstrapServers = None,
    application_id: ApplicationId = None,
    settings: SettingsFile = None,
    set_: Set = None,
) -> None:
    """Score with one version and its weights, whatever comes, until `resume`."""
    named = {} if version is None else {"version": version}
    _send({"command": "pin", **named}, why, by, bootstrap_servers, application_id, settings, set_)


@app.command()
def rollback(
    version: Annotated[int, typer.Argument(help="As `registry list` shows it, without the v.")],
    why: Why,
    by: By = None,
    bootstrap_servers: BootstrapServers = None,
    application_id: ApplicationId = None,
    settings: SettingsFile = None,
    set_: Set = None,
) -> None:
    """Put a version in force; healing goes on from there (`pin VERSION` stays with it)."""
    order = {"command": "rollback", "version": version}
    _send(order, why, by, bootstrap_servers, application_id, settings, set_)


@app.command()
def pause(
    why: Why,
    by: By = None,
    bootstrap_servers: BootstrapServers = None,
    application_id: ApplicationId = None,
    settings: SettingsFile = None,
    set_: Set = None,
) -> None:
    """Begin no heal until `resume`; what is in force is weighed on."""
    _send({"command": "pause"}, why, by, bootstrap_servers, application_id, settings, set_)


@app.command()
def resume(
    why: Why,
    by: By = None,
    bootstrap_servers: BootstrapServers = None,
    application_id: ApplicationId = None,
    settings: SettingsFile = None,
    set_: Set = None,
) -> None:
    """End a pause and a pin."""
    _send({"command": "resume"}, why, by, bootstrap_servers, application_id, settings, set_)


@app.command()
def status(
    json: Annotated[bool, typer.Option("--json", help="JSON instead of text.")] = False,
    bootstrap_servers: BootstrapServers = None,
    application_id: ApplicationId = None,
    settings: SettingsFile = None,
    set_: Set = None,
) -> None:
    """Where the healer stood at its last commit, and what waits for approval."""
    effective = options.effective(settings, set_, _flags(bootstrap_servers, application_id))
    from consumer import standing

    found = standing.read(effective)
    typer.echo(orjson.dumps(found) if json else standing.text(found))


def _send(
    order: dict[str, Any],
    why: str,
    by: str | None,
    bootstrap_servers: str | None,
    application_id: str | None,
    settings: Any,
    set_: Any,
) -> None:
    effective = options.effective(settings, set_, _flags(bootstrap_servers, application_id))
    from consumer import standing

    order = {
        # Of a pin or a pause each one counts; what waits is answered once.
        "command_id": f"{order['command']}-{uuid.uuid4().hex[:12]}",
        "issued_at": time.time_ns() // 1_000_000,
        "issued_by": by or getpass.getuser(),
        "why": why,
        **order,
    }
    standing.send(effective, order)
    typer.echo(f"sent as {order['command_id']}; `status` and the events say what became of it")


def _flags(bootstrap_servers: str | None, application_id: str | None) -> dict[str, Any]:
    return {"kafka.bootstrap_servers": bootstrap_servers, "application_id": application_id}
