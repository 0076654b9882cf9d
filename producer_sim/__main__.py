"""`python -m producer_sim`: made-up drift (`stream`) or a file of real rows (`replay`) to Kafka."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consumer import command_line
from consumer.errors import SettingsError
from producer_sim import files, replay, scenarios, training_csv
from producer_sim.labels import Labelling
from producer_sim.run import Console, Target, run
from producer_sim.scenarios import DRIFT_STRENGTH, Scenario
from producer_sim.schedule import schedule
from producer_sim.times import duration_ms, point_ms

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Publish transactions and their labels, in the order of event time.",
)

Rate = Annotated[str, typer.Option(help="Transactions a second, or max.", metavar="N|max")]
Delay = Annotated[
    str,
    typer.Option(help="Event time from a transaction to its label: 0, 30s, 5m, 12h, 7d."),
]
Fraction = Annotated[
    float, typer.Option(help="Share of the labels that ever come; chosen by id.", min=0, max=1)
]
Noise = Annotated[
    float | None,
    typer.Option(
        help="Share of the labels that are flipped; chosen by id. Default 0, in `noise` 0.1.",
        min=0,
        max=1,
    ),
]
# numpy's legacy generator takes no larger one.
Seed = Annotated[int, typer.Option(help="The same seed draws the same.", min=0, max=2**32 - 1)]
Bootstrap = Annotated[
    str | None, typer.Option(help="Brokers, as host:port,host:port.", metavar="SERVERS")
]
SettingsFile = Annotated[
    Path | None,
    typer.Option("--settings", help="TOML file; default reflexive.toml here, if it is there."),
]
TransactionsTopic = Annotated[str | None, typer.Option(help="Default from the settings.")]
LabelsTopic = Annotated[str | None, typer.Option(help="Default from the settings.")]
Partitions = Annotated[
    int,
    typer.Option(
        help="Of the topics, where they are missing. 1: all goes to partition 0; "
        "more: by the key, as Java's producers do.",
        min=1,
    ),
]


@app.command()
def stream(
    scenario: Annotated[Scenario, typer.Option(help="What drifts.")] = Scenario.paper,
    drift_strength: Annotated[
        float, typer.Option(help="How far V14 moves, in standard deviations.", min=-1e3, max=1e3)
    ] = DRIFT_STRENGTH,
    rows: Annotated[
        int | None,
        typer.Option(help="Transactions; default 2,500 in `paper`, else 15,000.", min=0),
    ] = None,
    rate: Rate = "max",
    label_delay: Delay = "0",
    label_fraction: Fraction = 1.0,
    label_noise: Noise = None,
    seed: Seed = 42,
    train_out: Annotated[
        Path | None, typer.Option(help="Write 5,000 clean training rows to this CSV file.")
    ] = None,
    test_out: Annotated[
        Path | None, typer.Option(help="Write 1,000 clean held-out rows to this CSV file.")
    ] = None,
    drifted_out: Annotated[
        Path | None,
        typer.Option(
            help="Write 1,000 drifted rows to this CSV file: in `paper` those that the stream is "
            "drawn from, else others of the drifted concept."
        ),
    ] = None,
    publish: Annotated[bool, typer.Option(help="Whether to publish, or only write files.")] = True,
    bootstrap_servers: Bootstrap = None,
    settings_file: SettingsFile = None,
    transactions_topic: TransactionsTopic = None,
    labels_topic: LabelsTopic = None,
    partitions: Partitions = 1,
) -> None:
    """Publish a made-up stream whose data drifts, and write the rows to train on."""
    pace = _rate(rate)
    labelling = Labelling(
        duration_ms(label_delay),
        label_fraction,
        scenario.label_noise if label_noise is None else label_noise,
        seed,
    )
    target = Target(settings_file, bootstrap_servers, transactions_topic, labels_topic, partitions)
    console = Console()
    outs = {"train": train_out, "test": test_out, "drifted": drifted_out}
    if any(outs.values()):
        sets = scenarios.sets(scenario, seed, drift_strength)
        for name, file in outs.items():
            if file is not None:
                training_csv.write(file, getattr(sets, name))
                console.say(f"wrote {len(getattr(sets, name)):,} {name} rows to {file}")
    elif not publish:
        raise SettingsError("nothing to do: --no-publish without --train-out or another file")
    if publish:
        total = scenario.rows if rows is None else rows
        chunks = scenarios.stream(scenario, seed, drift_strength, total)
        run(schedule(chunks, labelling), target, pace, console, total)


@app.command(name="replay")
def replay_command(
    file: Annotated[Path, typer.Argument(help="CSV or Parquet, in order of time.")],
    id_column: Annotated[str | None, typer.Option(help="Default transaction_id.")] = None,
    time_column: Annotated[
        str | None,
        typer.Option(
            help="Default event_time. ISO 8601 or Parquet's own times (without a zone UTC), "
            "or epoch: below 10^11 seconds, else milliseconds."
        ),
    ] = None,
    label_column: Annotated[
        str | None,
        typer.Option(
            help="Default is_fraud where the file has it, else no labels are published. "
            "0, 1, true, false; empty is never labelled."
        ),
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(help="Default every other column of numbers.", metavar="A,B,C"),
    ] = None,
    start: Annotated[
        str | None, typer.Option(help="From this time on: ISO 8601, or epoch as above.")
    ] = None,
    end: Annotated[str | None, typer.Option(help="Before this time.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many rows.", min=0)] = None,
    rate: Rate = "max",
    label_delay: Delay = "0",
    label_fraction: Fraction = 1.0,
    seed: Seed = 42,
    bootstrap_servers: Bootstrap = None,
    settings_file: SettingsFile = None,
    transactions_topic: TransactionsTopic = None,
    labels_topic: LabelsTopic = None,
    partitions: Partitions = 1,
) -> None:
    """Publish the rows of a file; rows that cannot be read are named, counted and left out."""
    pace = _rate(rate)
    labelling = Labelling(duration_ms(label_delay), label_fraction, seed=seed)
    target = Target(settings_file, bootstrap_servers, transactions_topic, labels_topic, partitions)
    window = replay.Window(
        None if start is None else point_ms(start), None if end is None else point_ms(end), limit
    )
    source = files.opened(file)
    named = None if features is None else [name.strip() for name in features.split(",")]
    columns = replay.choose(source, id_column, time_column, label_column, named)
    console = Console()
    console.say(f"features {', '.join(columns.features)}; label {columns.label or 'none'}")
    malformed = replay.Malformed(console.say)
    chunks = replay.transactions(source, columns, window, malformed)
    total = limit if source.rows is None else min(source.rows, limit or source.rows)
    run(schedule(chunks, labelling), target, pace, console, total, malformed)


def _rate(text: str) -> float | None:
    """Transactions a second; None is as fast as possible."""
    if text == "max":
        return None
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise SettingsError(f"--rate {text!r}: give transactions a second, above 0, or max")
    return rate


def main() -> None:
    """Run a command."""
    command_line.main(app)


if __name__ == "__main__":
    main()
