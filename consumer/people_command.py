"""Orders to a running consumer, and where it stands: over its topics, from anywhere."""

from __future__ import annotations

import getpass
import time
import uuid
from typing import Annotated, Any

import orjson
import typer

from consumer import options
from consumer.settings import Settings

app = typer.Typer(rich_markup_mode=None)

Why = Annotated[str, typer.Option(help="Why: it stands in the event, for the auditor.")]
By = Annotated[str | None, typer.Option(help="Who orders it; default: your login name.")]
Waiting = Annotated[str, typer.Argument(help="What waits, as `status` names it: heal-7.")]


@app.command()
@options.connected
def approve(
    settings: Settings,
    waiting: Waiting,
    why: Why,
    by: By = None,
) -> None:
    """Let a heal that waits for approval count."""
    _send(settings, {"command": "approve", "approval_id": waiting}, why, by)


@app.command()
@options.connected
def reject(
    settings: Settings,
    waiting: Waiting,
    why: Why,
    by: By = None,
) -> None:
    """Discard a heal that waits for approval."""
    _send(settings, {"command": "reject", "approval_id": waiting}, why, by)


@app.command()
@options.connected
def pin(
    settings: Settings,
    why: Why,
    version: Annotated[int | None, typer.Argument(help="Default: the one in force.")] = None,
    by: By = None,
) -> None:
    """Score with one version and its weights, whatever comes, until `resume`."""
    named = {} if version is None else {"version": version}
    _send(settings, {"command": "pin", **named}, why, by)


@app.command()
@options.connected
def rollback(
    settings: Settings,
    version: Annotated[int, typer.Argument(help="As `registry list` shows it, without the v.")],
    why: Why,
    by: By = None,
) -> None:
    """Put a version in force; healing goes on from there (`pin VERSION` stays with it)."""
    order = {"command": "rollback", "version": version}
    _send(settings, order, why, by)


@app.command()
@options.connected
def pause(
    settings: Settings,
    why: Why,
    by: By = None,
) -> None:
    """Begin no heal until `resume`; what is in force is weighed on."""
    _send(settings, {"command": "pause"}, why, by)


@app.command()
@options.connected
def resume(
    settings: Settings,
    why: Why,
    by: By = None,
) -> None:
    """End a pause and a pin."""
    _send(settings, {"command": "resume"}, why, by)


@app.command()
@options.connected
def status(
    settings: Settings,
    json: Annotated[bool, typer.Option("--json", help="JSON instead of text.")] = False,
) -> None:
    """Where the healer stood at its last commit, and what waits for approval."""
    from consumer import standing

    found = standing.read(settings)
    typer.echo(orjson.dumps(found) if json else standing.text(found))


def _send(settings: Settings, order: dict[str, Any], why: str, by: str | None) -> None:
    from consumer import standing

    order = {
        # Each one counts: the same may wait again, in a regime that is back.
        "command_id": f"{order['command']}-{uuid.uuid4().hex[:12]}",
        "issued_at": time.time_ns() // 1_000_000,
        "issued_by": by or getpass.getuser(),
        "why": why,
        **order,
    }
    standing.send(settings, order)
    typer.echo(f"sent as {order['command_id']}; `status` and the events say what became of it")
