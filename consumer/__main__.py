"""`python -m consumer`: train a model, run the consumer, report, and what helps with them."""

from __future__ import annotations

import contextlib
import threading
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import structlog
import typer

from consumer import (
    command_line,
    dead_letters_command,
    options,
    people_command,
    registry_command,
    settings_page,
)
from consumer.errors import SettingsError
from consumer.options import (
    ApplicationId,
    BootstrapServers,
    LabelsTopic,
    Set,
    SettingsFile,
    TransactionsTopic,
)
from consumer.settings import masked

app = typer.Typer(
    help="A Kafka consumer whose fraud model heals itself when the data drifts.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # it would take [kafka.bootstrap_servers] for a style
)
app.add_typer(registry_command.app, name="registry")
app.add_typer(dead_letters_command.app, name="dead-letters")
app.add_typer(people_command.app)
log = structlog.get_logger()


class _Recipe(StrEnum):
    default = "default"
    paper = "paper"


class _Order(StrEnum):
    arrival = "arrival"
    event_time = "event_time"


@app.command()
def train(
    data: Annotated[Path, typer.Option(help="CSV or Parquet of labelled rows.")],
    out: Annotated[Path, typer.Option(help="Model directory to write.")],
    features: Annotated[
        str | None, typer.Option(help="Feature columns, a,b,c; default all other numeric ones.")
    ] = None,
    label: Annotated[str, typer.Option(help="Label column, 0 or 1.")] = "is_fraud",
    time: Annotated[
        str | None,
        typer.Option(help="Column to order by for the holdout; default event_time, if there."),
    ] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option(help="A rule that says fraud, such as 'V14 < -1.5'; may be given again."),
    ] = None,
    watch: Annotated[
        list[str] | None,
        typer.Option(help="A feature that FIDI watches; may be given again; default all."),
    ] = None,
    recipe: Annotated[
        _Recipe,
        typer.Option(
            help="default: early stopping on the newest fifth, calibration. paper: the published "
            "20 fixed epochs on all rows (they overfit), with a separately trained shadow."
        ),
    ] = _Recipe.default,
    test: Annotated[
        Path | None, typer.Option(help="Held-out rows whose figures the manifest is to hold.")
    ] = None,
    seed: Annotated[
        int,
        typer.Option(help="Of the initial weights and the shuffling.", min=0, max=2**32 - 1),
    ] = 42,
) -> None:
    """Train a base model and write a model directory."""
    from consumer import training_command  # torch takes seconds to import: only where needed

    training_command.run(
        data,
        out,
        features=features.split(",") if features else None,
        label=label,
        time=time,
        rule_texts=rule or [],
        watch=watch,
        recipe=recipe.value,
        test=test,
        seed=seed,
    )


@app.command()
def run(
    model: Annotated[Path | None, typer.Option(help="Model directory. [model]")] = None,
    bootstrap_servers: BootstrapServers = None,
    application_id: ApplicationId = None,
    instance_id: Annotated[
        str | None, typer.Option(help="Unique to a process, stable. [instance_id]")
    ] = None,
    transactions_topic: TransactionsTopic = None,
    labels_topic: LabelsTopic = None,
    until_end: Annotated[
        bool,
        typer.Option(
            "--until-end",
            help="Stop once both topics are consumed to where they ended at the start and all "
            "healing is settled.",
        ),
    ] = False,
    inline: Annotated[
        bool | None,
        typer.Option(
            "--inline/--threaded",
            help="Wait for every heal (deterministic replay), or score on. [heal.mode]",
        ),
    ] = None,
    order: Annotated[
        _Order | None,
        typer.Option(help="Default: event_time with --until-end or --inline. [input.order]"),
    ] = None,
    threshold_config: Annotated[
        Path | None,
        typer.Option(
            help="threshold_config.json, applied at start and on SIGHUP. "
            "[decision.threshold_config]"
        ),
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="Show a live view in the terminal.")] = False,
    profile: Annotated[
        bool,
        typer.Option("--profile", help="Print µs a row by stage, at the end and on SIGUSR1."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="The profile as a line of JSON.")] = False,
    settings: SettingsFile = None,
    set_: Set = None,
) -> None:
    """Consume: score every transaction, join labels, watch, heal, roll back."""
    effective = options.effective(
        settings,
        set_,
        {
            "model": model,
            "kafka.bootstrap_servers": bootstrap_servers,
            "application_id": application_id,
            "instance_id": instance_id,
            "input.transactions.topic": transactions_topic,
            "input.labels.topic": labels_topic,
            "input.order": order.value if order else None,
            "heal.mode": None if inline is None else ("inline" if inline else "threaded"),
            "decision.threshold_config": threshold_config,
        },
    )
    directory = options.model_of(effective)
    log.info("starting", settings=masked(effective))
    with command_line.importing():
        from consumer import run_command
        from consumer.profile import Profile

    run_command.run(
        effective,
        directory,
        until_end=until_end,
        live=live,
        profile=Profile() if profile or json else None,
        json=json,
    )


@app.command()
def report(
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("monitoring_export"),
    model: Annotated[
        Path | None, typer.Option(help="Model directory, for the clean line. [model]")
    ] = None,
    bootstrap_servers: BootstrapServers = None,
    application_id: ApplicationId = None,
    settings: SettingsFile = None,
    set_: Set = None,
) -> None:
    """Write metrics.csv, events.json, threshold_config.json and nine plots from the topics."""
    effective = options.effective(
        settings,
        set_,
        {
            "model": model,
            "kafka.bootstrap_servers": bootstrap_servers,
            "application_id": application_id,
        },
    )
    from consumer.report import report as make

    made = make(effective, out, effective.model)
    typer.echo(str(made))


@app.command()
def audit(
    model: Annotated[Path | None, typer.Option(help="Model directory. [model]")] = None,
    from_: Annotated[
        str | None, typer.Option("--from", help="Event time, ISO 8601, inclusive.")
    ] = None,
    to: Annotated[str | None, typer.Option(help="Event time, ISO 8601, exclusive.")] = None,
    id_: Annotated[str | None, typer.Option("--id", help="One transaction's id.")] = None,
    events: Annotated[
        bool, typer.Option("--events", help="Check the chain of decisions instead of scores.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="Write the decisions and their evidence as an HTML page.")
    ] = None,
    bootstrap_servers: BootstrapServers = None,
    application_id: ApplicationId = None,
    transactions_topic: TransactionsTopic = None,
    settings: SettingsFile = None,
    set_: Set = None,
) -> None:
    """Make published scores again from the transactions and the registry; exit 1 if one differs.

    With --events: is a decision missing, altered or moved on the events topic? Exit 1 if one is.
    With --report: the same, and what was decided from --from to --to, on what evidence, as a page.
    """
    effective = options.effective(
        settings,
        set_,
        {
            "model": model,
            "kafka.bootstrap_servers": bootstrap_servers,
            "application_id": application_id,
            "input.transactions.topic": transactions_topic,
        },
    )
    of_scores = not (events or report)
    if (id_ and not of_scores) or ((from_ or to) and not (of_scores or report)):
        raise SettingsError("--id is of scores, --from and --to are of scores and of a --report")
    directory = options.model_of(effective) if of_scores else None
    from consumer import audit_command

    if report is not None:
        audit_command.report(effective, report, from_, to)
    elif directory is None:
        audit_command.events(effective)
    else:
        audit_command.run(effective, directory, from_, to, id_)


@app.command("what-if")
def what_if(
    fn: Annotated[
        float | None, typer.Option(help="Cost of a missed fraud. [cost.missed_fraud]", min=0)
    ] = None,
    fp: Annotated[
        list[float] | None,
        typer.Option(help="Cost of a false alarm; may be given again. [cost.false_alarm]", min=0),
    ] = None,
    review: Annotated[
        float | None, typer.Option(help="Cost of a manual review. [cost.review]", min=0)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
    bootstrap_servers: BootstrapServers = None,
    application_id: ApplicationId = None,
    settings: SettingsFile = None,
    set_: Set = None,
) -> None:
    """What the decisions so far would have cost at other prices, healed and frozen.

    With --fn every missed fraud costs the same, whatever cost.amount_feature says.
    """
    effective = options.effective(
        settings,
        set_,
        {
            "kafka.bootstrap_servers": bootstrap_servers,
            "application_id": application_id,
            "cost.missed_fraud": fn,
            "cost.false_alarm": fp,
            "cost.review": review,
        },
    )
    if fn is not None:
        fixed = effective.cost.model_copy(update={"amount_feature": None})
        effective = effective.model_copy(update={"cost": fixed})
    from consumer import what_if_command

    what_if_command.run(effective, json=json)


@app.command("settings")
def show_settings(
    settings: SettingsFile = None,
    set_: Set = None,
) -> None:
    """Show every setting, what it does and what is in force, as a TOML file."""
    typer.echo(settings_page.page(options.effective(settings, set_, {})))


@app.command()
def broker() -> None:
    """Run the embedded broker until Ctrl-C: in memory, for trying things out."""
    from consumer.kafka.embedded import embedded_broker

    with embedded_broker() as address:
        typer.echo(f"embedded broker at {address} (in memory; Ctrl-C ends it)")
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("demo"),
    rate: Annotated[
        int, typer.Option(help="Transactions a second; 100 is a batch a second.", min=1)
    ] = 100,
) -> None:
    """The whole story on the embedded broker: train, drift, heal, a table and nine plots."""
    from consumer import demo as story

    story.run(out, rate)


def main() -> None:
    """Run a command."""
    command_line.main(app)


if __name__ == "__main__":
    main()
