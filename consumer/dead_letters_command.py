"""The `dead-letters` commands: what could not be read, and replaying it once it can be."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import orjson
import typer

from consumer import dead_letters_view, options
from consumer.dead_letters_view import Letter, Wanted
from consumer.errors import SettingsError
from consumer.options import ApplicationId, BootstrapServers, Set, SettingsFile
from consumer.settings import Settings

app = typer.Typer(
    help="Look at the messages that could not be read, and replay those that can be by now.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Kind = Annotated[str | None, typer.Option(help="Only this kind of defect, such as InvalidJson.")]
Topic = Annotated[str | None, typer.Option(help="Only records of this input topic.")]


@app.command("list")
@options.connected
def list_(
    settings: Settings,
    kind: Kind = None,
    topic: Topic = None,
    limit: Annotated[int, typer.Option(help="Newest so many one by one.", min=0)] = 20,
    json: Annotated[
        bool,
        typer.Option("--json", help="One JSON object a line: the counts (`count`), then letters."),
    ] = False,
) -> None:
    """Counts by kind, topic and partition, then the newest."""
    found = [letter for letter in _letters(settings) if Wanted(kind, topic).wants(letter)]
    counts = list(dead_letters_view.counts(found))
    newest = found[len(found) - limit :] if limit < len(found) else found
    newest = newest[::-1]
    if json:
        for line in [*counts, *map(dead_letters_view.as_json, newest)]:
            typer.echo(orjson.dumps(line))
        return
    for one in counts:
        typer.echo(
            f"{one.count:>8,} {one.kind:<16} {one.topic}[{one.partition}]  "
            f"{_time(one.first_at)} to {_time(one.last_at)}"
        )
    typer.echo(f"{len(found):>8,} in all" + (f", the newest {len(newest):,}:" if newest else ""))
    for letter in newest:
        typer.echo(f"{letter.place}  {letter.kind}  {letter.reason}")


@app.command()
@options.connected
def show(
    settings: Settings,
    place: Annotated[
        str, typer.Argument(metavar="TOPIC/PARTITION/OFFSET", help="Of the original record.")
    ],
    json: Annotated[bool, typer.Option("--json", help="JSON instead of text.")] = False,
) -> None:
    """One dead letter: why, key, headers, value as text or hex."""
    place = dead_letters_view.checked_place(place)
    letter = dead_letters_view.at(_letters(settings), place)
    shown = dead_letters_view.as_json(letter)
    if json:
        typer.echo(orjson.dumps(shown))
        return
    typer.echo(f"record    {letter.place}")
    if letter.first != letter.place:
        typer.echo(f"replay of {letter.first}")
    typer.echo(f"kind      {letter.kind}")
    typer.echo(f"reason    {letter.reason}")
    typer.echo(f"dead at   {_time(letter.dead_at)}")
    typer.echo(f"key       {_text(shown['key'])}")
    for name, value in shown["headers"]:
        typer.echo(f"header    {name}: {_text(value)}")
    if letter.shortened is not None:
        size, sha256 = letter.shortened.size, letter.shortened.sha256
        typer.echo(f"value     too large to be kept: {size:,} bytes, sha256 {sha256}")
    else:
        typer.echo(f"value     {_text(shown['value'])}")


@app.command()
def replay(
    kind: Kind = None,
    topic: Topic = None,
    place: Annotated[
        str | None,
        typer.Option(metavar="TOPIC/PARTITION/OFFSET", help="Only this original record."),
    ] = None,
    repair: Annotated[
        str | None,
        typer.Option(
            metavar="PROGRAM",
            help="Pipe each value through this program (no shell): the value on its standard "
            "input, the repaired one on its standard output; a non-zero status leaves it.",
        ),
    ] = None,
    again: Annotated[
        bool,
        typer.Option("--again", help="Also those whose replay became a dead letter itself."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done; produce nothing.")
    ] = False,
    model: Annotated[
        Path | None, typer.Option(help="Model directory, which names the features. [model]")
    ] = None,
    bootstrap_servers: BootstrapServers = None,
    application_id: ApplicationId = None,
    transactions_topic: options.TransactionsTopic = None,
    labels_topic: options.LabelsTopic = None,
    settings: SettingsFile = None,
    set_: Set = None,
) -> None:
    """Send what is readable now to its input topic again, so that it is scored like any other.

    This writes to the input topics, which the consumer itself never does: run it with the settings
    that the consumer runs with, after they (or the messages, with --repair) were mended. Key,
    headers and value stay; the header reflexive.replayed-from names the original, and keeps a
    second replay from sending it twice.
    """
    wanted = Wanted(kind, topic, None if place is None else dead_letters_view.checked_place(place))
    effective = options.effective(
        settings,
        set_,
        {
            "kafka.bootstrap_servers": bootstrap_servers,
            "application_id": application_id,
            "model": model,
            "input.transactions.topic": transactions_topic,
            "input.labels.topic": labels_topic,
        },
    )
    inputs = (effective.input.transactions.topic, effective.input.labels.topic)
    if topic is not None and topic not in inputs:
        raise SettingsError(f"--topic {topic!r}: the input topics are {' and '.join(inputs)}")
    program = None if repair is None else _program(repair)
    from consumer import dead_letters_replay

    found = _letters(effective)
    if wanted.place is not None and not any(map(wanted.wants, found)):
        dead_letters_view.at([], wanted.place)
    done = dead_letters_replay.replay(
        effective,
        found,
        wanted.wants,
        lambda: _features(effective),
        time.time_ns() // 1_000_000,
        repair=None if program is None else dead_letters_replay.repair_with(program),
        again=again,
        dry_run=dry_run,
    )
    verb = "would be replayed" if dry_run else "replayed"
    kinds = ", ".join(f"{count:,} {name}" for name, count in sorted(done.unreadable.items()))
    typer.echo(
        f"{done.replayed:,} {verb}, {done.before:,} already replayed before, "
        f"{done.unreadable.total():,} still unreadable{f' ({kinds})' if kinds else ''}, "
        f"{done.gone:,} gone"
    )
    if done.failed_again:
        typer.echo(f"{done.failed_again:,} of those before failed again; --again replays them")
    if done.elsewhere:
        typer.echo(f"{done.elsewhere:,} left alone: not of {' or '.join(inputs)}")


def _letters(settings: Settings) -> Sequence[Letter]:
    found, foreign = dead_letters_view.letters(settings)
    if foreign:
        topic = settings.topic("dead-letters")
        typer.echo(f"warning: {foreign:,} records of {topic} lack our headers", err=True)
    return found


def _features(settings: Settings) -> Sequence[str]:
    directory = options.model_of(settings)
    from consumer import model_directory  # torch takes seconds to import: only where needed

    return model_directory.load(directory).features


def _program(text: str) -> list[str]:
    try:
        program = shlex.split(text)
    except ValueError as error:
        raise SettingsError(f"--repair {text!r}: {error}") from error
    if not program:
        raise SettingsError("--repair names no program")
    return program


def _time(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="seconds")


def _text(value: str | None) -> str:
    return "none" if value is None else value
