"""A public stream with labels days late: healed against frozen, without a broker.

    python -m benchmarks.study.handbook FILE [--delay-days 7] [--share 1.0] [--seeds 1,2]

FILE: the Fraud Detection Handbook's transactions, April to June 2018. Trained on days 3 to 13,
deployed on day 20 beside a topic that keeps a week, judged from day 34 to 90.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.study.figures import log_losses
from consumer import metrics, model_directory, train
from consumer.columns import Float32, Float64, Int8, Int64, Labels, Transactions
from consumer.driver import Chunk, Driver
from consumer.outputs import Outputs
from consumer.rows import Rows
from consumer.settings import DAY_MS, load

FEATURES = (
    *("TX_AMOUNT", "TX_DURING_WEEKEND", "TX_DURING_NIGHT"),
    *(
        f"{who}_ID_{what}_{days}DAY_WINDOW"
        for who, what in (
            ("CUSTOMER", "NB_TX"),
            ("CUSTOMER", "AVG_AMOUNT"),
            ("TERMINAL", "NB_TX"),
            ("TERMINAL", "RISK"),
        )
        for days in (1, 7, 30)
    ),
)
TRAINED, READ, JUDGED = (3, 13), 14, 34
CHUNK_ROWS = 5_000


def main() -> None:
    """Run and print."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("file", type=Path)
    asked.add_argument("--delay-days", type=float, default=7)
    asked.add_argument("--share", type=float, default=1.0, help="of the labels that come")
    asked.add_argument("--seeds", default="1")
    asked.add_argument("--until-day", type=int, default=90)
    asked.add_argument("--policy", default="hedge")
    given = asked.parse_args()
    try:
        table = pq.read_table(given.file)
    except (OSError, pa.ArrowInvalid) as error:
        raise SystemExit(f"{given.file} cannot be read as Parquet: {error}") from error
    names = {name.upper(): name for name in table.column_names}
    missing = [name for name in FEATURES if name not in names]
    if missing:
        raise SystemExit(f"{given.file}: no column {', '.join(missing)}; is it the handbook's?")
    day = table["TX_TIME_DAYS"].to_numpy()
    x = np.column_stack([table[names[f]].to_numpy() for f in FEATURES]).astype(np.float32)
    y = table["TX_FRAUD"].to_numpy().astype(np.int8)
    time = table["TX_DATETIME"].to_numpy().astype("datetime64[ms]").astype(np.int64)
    for seed in map(int, given.seeds.split(",")):
        used = (day >= TRAINED[0]) & (day <= TRAINED[1])
        scored = (day >= READ) & (day < given.until_day)
        found, frozen, said = run(
            Rows(FEATURES, x[used], y[used].astype(np.float32)),
            (x[scored], y[scored], time[scored]),
            seed,
            given,
        )
        judged = day[scored] >= JUDGED
        for name, p in (("healed", found), ("frozen", frozen)):
            print(
                f"seed {seed} {name}: log loss {log_losses(p, y[scored])[judged].mean():.4f}, "
                f"average precision a week "
                f"{weekly(p[judged], y[scored][judged], day[scored][judged]):.3f}"
            )
        print("  ", said, flush=True)


def run(
    training: Rows, stream: tuple[Float32, Int8, Int64], seed: int, given: Any
) -> tuple[Float64, Float64, dict[str, int]]:
    """Scores, frozen scores, and how often what was said."""
    x, y, time = stream
    with tempfile.TemporaryDirectory() as folder:
        module, how = train.train(training, seed, lambda *_: None)
        model_directory.save(
            Path(folder),
            module,
            features=list(training.features),
            rules=[],
            watched=list(training.features),
            reference=train.reference(training, module),
            training=how,
        )
        model = model_directory.load(Path(folder))
    settings = load(Path(os.devnull), {"heal.mode": "inline", "heal.policy": given.policy})
    scores: list[Float32] = []
    shadow: list[Float32] = []
    said: dict[str, int] = {}

    def take(out: Outputs) -> None:
        scores.extend(each.score for each in out.scores)
        shadow.extend(each.shadow for each in out.scores)
        for event in out.events:
            if event["event"]["kind"] != "metric":
                action = event["event"]["action"]
                said[action] = said.get(action, 0) + 1

    come = np.random.default_rng(seed).random(len(y)) < given.share
    with Driver(settings, model) as driver:
        driver.run(_chunks(x, y, time, come, round(given.delay_days * DAY_MS)), take)
    healed, frozen = (np.concatenate(each).astype(np.float64) for each in (scores, shadow))
    return healed, frozen, said


def _chunks(x: Float32, y: Int8, time: Int64, come: Any, delay_ms: int) -> Iterator[Chunk]:
    ids = [str(n) for n in range(len(y))]
    offset = np.arange(len(y), dtype=np.int64)
    labelled = np.flatnonzero(come)
    at = time[labelled] + delay_ms
    done = 0
    for start in range(0, len(y), CHUNK_ROWS):
        part = slice(start, start + CHUNK_ROWS)
        last = time[part][-1]
        until = int(np.searchsorted(at, last, side="right")) + 1  # the next one is known
        some = labelled[done:until]
        labels = Labels(
            0,
            [ids[n] for n in some],
            at[done:until],
            y[some],
            ["chargeback"] * len(some),
            np.arange(done, done + len(some), dtype=np.int64),
        )
        done = min(until, len(labelled))
        yield Transactions(0, ids[part], time[part], x[part], offset[part]), labels


def weekly(p: Float64, y: Int8, day: Any) -> float:
    """Mean over weeks of the average precision."""
    weeks = (day - JUDGED) // 7
    found = [
        metrics.figures(p[weeks == week], y[weeks == week], 0.5)["average_precision"]
        for week in np.unique(weeks)
    ]
    return float(np.mean([each for each in found if each is not None]))


if __name__ == "__main__":
    main()
