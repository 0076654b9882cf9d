"""Labels a week late over a public stream: what is joined, what it costs in memory, what it tells.

    make labels HANDBOOK=/path/to/2018-04-to-06.parquet

The file is the Fraud Detection Handbook's simulated-data-transformed as one table. The same stream
is consumed twice: with room for every row, and with a tenth of it, so that the join keeps a sample.

Source: Le Borgne, Siblini, Lebichot, Bontempi, "Reproducible Machine Learning for Credit Card Fraud
Detection", 2022: https://fraud-detection-handbook.github.io (a label is known after 7 days).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import uuid
from datetime import date, timedelta
from pathlib import Path

import orjson
import pyarrow.parquet

from benchmarks import arguments, labels_report, processes, runs
from benchmarks.labels_report import Ran
from consumer.kafka.reader import Reader
from consumer.settings import Settings, load
from tests.broker import real_broker

OUT = Path(__file__).parent.parent / "docs" / "results" / "labels.md"
DAY_0 = date(2018, 4, 1)
TRAINED = (3, 13)
KNOWN = 20  # the day on which the last of those days' labels is known: nobody deploys before
LAST = 90
NAMED = ("TX_AMOUNT", "TX_DURING_WEEKEND", "TX_DURING_NIGHT")
ROLLING = ("CUSTOMER_ID_", "TERMINAL_ID_")
BUDGETS = (1_000_000, 100_000)  # the default, and a tenth of it


def train(file: Path, folder: Path) -> list[str]:
    """A model directory of the training days; returns the features."""
    days = [("TX_TIME_DAYS", ">=", TRAINED[0]), ("TX_TIME_DAYS", "<=", TRAINED[1])]
    table = pyarrow.parquet.read_table(file, filters=days)
    features = [n for n in table.column_names if n in NAMED or n.startswith(ROLLING)]
    pyarrow.parquet.write_table(table, folder / "train.parquet")
    runs.command(
        *("consumer", "train", "--data", folder / "train.parquet", "--out", folder / "model"),
        *("--features", ",".join(features), "--label", "TX_FRAUD", "--time", "TX_DATETIME"),
    )
    return features


def publish(file: Path, features: list[str], settings: Settings, first: int, last: int) -> None:
    """Every transaction of these days, and its label 7 days of event time later."""
    runs.command(
        *("producer_sim", "replay", file, "--features", ",".join(features)),
        *("--id-column", "TRANSACTION_ID", "--time-column", "TX_DATETIME"),
        *("--label-column", "TX_FRAUD", "--label-delay", "7d"),
        *("--start", DAY_0 + timedelta(days=first), "--end", DAY_0 + timedelta(days=last + 1)),
        *("--bootstrap-servers", settings.kafka.bootstrap_servers),
        *("--transactions-topic", settings.input.transactions.topic),
        *("--labels-topic", settings.input.labels.topic),
    )


def consume(settings: Settings, folder: Path) -> Ran:
    """Consume all of it, heals inline: the same labelled rows then lead to the same heals."""
    log = folder / f"{settings.application_id}.log"
    # The published policy: the question is the join's, and its heals take no time.
    flags = (
        "--inline",
        "--set",
        "heal.policy=paper",
        "--set",
        f"join.max_rows={settings.join.max_rows}",
    )
    watched = processes.watch(settings, folder / "model", log, *flags)
    with Reader(settings.kafka) as reader:
        (message,) = reader.last(settings.topic("checkpoints"), 0, 1)
    return Ran(settings, watched, orjson.loads(message.value() or b""))


def main() -> None:
    """Run, print, write; exit 1 where labels are lost."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.labels")
    options.add_argument("file", type=Path, nargs="?", help="the Handbook's Parquet file")
    options.add_argument(
        "--first-day", type=arguments.number(int, 0, LAST), default=KNOWN, help=f"default {KNOWN}"
    )
    options.add_argument(
        "--last-day", type=arguments.number(int, 0, LAST), default=LAST, help=f"default {LAST}: all"
    )
    options.add_argument("--out", type=Path, default=OUT, help="the report; default in docs/")
    given = options.parse_args()
    if given.file is None:
        print(
            "SKIPPED: no file was named. The label-delay run needs the Fraud Detection Handbook's "
            "transactions: make labels HANDBOOK=/path/to/2018-04-to-06.parquet",
            file=sys.stderr,
        )
        return
    if not given.file.is_file():
        raise SystemExit(f"{given.file}: no such file")
    unique = uuid.uuid4().hex[:8]
    about = processes.machine()
    with real_broker() as broker, tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        settings = [
            load(
                None,
                {
                    "kafka.bootstrap_servers": broker.bootstrap,
                    "application_id": f"labels-{unique}-{budget}",
                    "input.transactions.topic": f"labels-{unique}-transactions",
                    "input.labels.topic": f"labels-{unique}-labels",
                    "join.max_rows": budget,
                },
            )
            for budget in BUDGETS
        ]
        features = train(given.file, folder)
        publish(given.file, features, settings[0], given.first_day, given.last_day)
        whole, sampled = (consume(each, folder) for each in settings)
    head = [
        "# Labels a week late, on a public stream",
        "",
        f"    make labels HANDBOOK={given.file.name}",
        "",
        f"Taken on {about}.",
        "",
        f"The Handbook's days {given.first_day}–{given.last_day} of 0–{LAST}, replayed at full "
        "speed through one partition in the order of event time, each label 7 days after its "
        f"transaction. The model was trained on days {TRAINED[0]}–{TRAINED[1]}, the last of "
        f"whose labels is known on day {KNOWN}. No rules; heals inline; exactly once. Twice over "
        "the same topics: with the default room for rows that wait for labels, and with a tenth.",
        "",
    ]
    text = "\n".join([*head, *labels_report.lines(whole, sampled, len(features))])
    print(text)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(text + "\n")
    if whole.joined_share < labels_report.WANTED:
        sys.exit(
            f"{whole.joined_share:.3%} of the labels joined, {labels_report.WANTED:.1%} wanted"
        )


if __name__ == "__main__":
    main()
