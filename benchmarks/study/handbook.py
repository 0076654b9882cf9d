"""A public stream with labels days late: healed, frozen and retrained weekly, without a broker.

    python -m benchmarks.study.handbook FILE [--delay-days 7] [--share 1.0] [--seeds 1,2]

FILE: the Fraud Detection Handbook's transactions, April to June 2018. Trained on days 3 to 13,
deployed on day 20 beside a topic that keeps a week, judged from day 34 to 90.
"""

from __future__ import annotations

import argparse
import multiprocessing
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import arguments
from benchmarks.study import deployed, retrained
from benchmarks.study.figures import log_losses
from consumer import metrics
from consumer.columns import Float64, Int8
from consumer.rows import Rows
from consumer.sections import HealPolicy
from consumer.settings import DAY_MS

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
AP = "average precision a week"
TRAINED, READ, JUDGED = (3, 13), 14, 34


def main() -> None:
    """Run and print."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("file", type=Path)
    asked.add_argument("--delay-days", type=arguments.number(float, 0), default=7)
    asked.add_argument(
        "--share", type=arguments.number(float, 0, 1), default=1.0, help="of the labels that come"
    )
    asked.add_argument("--seeds", default="1", type=arguments.whole_numbers)
    asked.add_argument("--until-day", type=arguments.number(int, JUDGED + 1), default=90)
    asked.add_argument("--policy", default="hedge", choices=get_args(HealPolicy))
    asked.add_argument("--processes", type=arguments.positive, default=2)
    given = asked.parse_args()
    if not given.file.is_file():
        raise SystemExit(f"{given.file}: no such file")
    try:
        table = pq.read_table(given.file)
    except (OSError, pa.ArrowInvalid) as error:
        raise SystemExit(f"{given.file} cannot be read as Parquet: {error}") from error
    names = {name.upper(): name for name in table.column_names}
    missing = [name for name in FEATURES if name not in names]
    if missing:
        raise SystemExit(f"{given.file}: no column {', '.join(missing)}; is it the handbook's?")
    found: dict[str, list[tuple[float, float]]] = {}
    # Not forked: torch's threads do not survive it.
    with multiprocessing.get_context("spawn").Pool(given.processes) as pool:
        work = [(table, names, given, seed) for seed in given.seeds]
        for seed, judged, said in pool.imap(_of_seed, work):
            for name, (loss, precision, weeks) in judged.items():
                found.setdefault(name, []).append((loss, precision))
                print(f"seed {seed} {name}: log loss {loss:.4f}, {AP} {precision:.3f}")
                print("   log loss by week:", " ".join(f"{week:.4f}" for week in weeks))
            print("  ", said, flush=True)
    for name, several in found.items():
        mean, sd = np.mean(several, axis=0), np.std(several, axis=0)
        print(
            f"{name}, {len(several)} seeds: log loss {mean[0]:.4f} ± {sd[0]:.4f}, "
            f"{AP} {mean[1]:.3f} ± {sd[1]:.3f}"
        )


def _of_seed(
    work: tuple[pa.Table, dict[str, str], argparse.Namespace, int],
) -> tuple[int, dict[str, tuple[float, float, list[float]]], dict[str, int]]:
    """Log loss, average precision and loss by week, of each who scored; how often was said what."""
    table, names, given, seed = work
    day = table["TX_TIME_DAYS"].to_numpy()
    x = np.column_stack([table[names[f]].to_numpy() for f in FEATURES]).astype(np.float32)
    y = table["TX_FRAUD"].to_numpy().astype(np.int8)
    time = table["TX_DATETIME"].to_numpy().astype("datetime64[ms]").astype(np.int64)
    used = (day >= TRAINED[0]) & (day <= TRAINED[1])
    scored = (day >= READ) & (day < given.until_day)
    model = deployed.trained(Rows(FEATURES, x[used], y[used].astype(np.float32)), seed)
    stream = (x[scored], y[scored], time[scored])
    come = np.random.default_rng(seed).random(int(scored.sum())) < given.share
    delay_ms = round(given.delay_days * DAY_MS)
    ours = deployed.score(model, stream, come, policy=given.policy, delay_ms=delay_ms)
    anew = retrained.score(model, stream, come, seed=seed, delay_ms=delay_ms)
    judged = day[scored] >= JUDGED
    truth, when = y[scored][judged], day[scored][judged]
    by = {"healed": ours.healed, "retrained weekly": anew, "frozen": ours.frozen}
    week = (when - JUDGED) // 7
    figures = {}
    for name, p in by.items():
        losses = log_losses(p[judged], truth)
        of_weeks = [float(losses[week == each].mean()) for each in np.unique(week)]
        figures[name] = float(losses.mean()), weekly(p[judged], truth, week), of_weeks
    return seed, figures, {action: len(at) for action, at in ours.said.items()}


def weekly(p: Float64, y: Int8, weeks: Any) -> float:
    """Mean over weeks of the average precision."""
    found = [
        metrics.figures(p[weeks == week], y[weeks == week], 0.5)["average_precision"]
        for week in np.unique(weeks)
    ]
    return float(np.mean([each for each in found if each is not None]))


if __name__ == "__main__":
    main()
