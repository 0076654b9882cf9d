"""The same stream judged honestly: prequentially, on rows held out, over five seeds.

Beside the healed and the frozen model stand the two constants and the Bayes-optimal score, which
knows both class densities. Costs of all but Bayes are at the threshold in force (.5), as published;
those of Bayes at the threshold each cost structure asks for.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
from rich import box
from rich.table import Table

from benchmarks import runs
from benchmarks.runs import Run
from consumer import evaluate, metrics
from consumer.columns import Float64
from consumer.rows import Rows
from consumer.sections import Cost

SEEDS = (42, 43, 44, 45, 46)
# Draws of a seed's held-out rows: far from every seed that trains or streams.
HELD_OUT = 10_000
DRIFT = 2.2
FRAUD_SHARE = 0.15

Figures = dict[str, float]


def bayes(v14: Float64) -> Float64:
    """Posterior of fraud given V14, (rows,): the other nine features are noise in both classes."""
    fraud = FRAUD_SHARE * np.exp(-0.5 * ((v14 + 2.5) / 0.8) ** 2) / 0.8
    legit = (1 - FRAUD_SHARE) * np.exp(-0.5 * (v14 + DRIFT) ** 2)
    posterior: Float64 = fraud / (fraud + legit)
    return posterior


def figures(score: Float64, label: Float64, *, optimal: bool = False) -> Figures:
    """The table's figures of one seed; costs a 1,000 rows."""
    found = metrics.figures(score, label, 0.5)
    names = ("accuracy", "f1", "log_loss", "average_precision")
    result = {name: float(found[name] or 0.0) for name in names}
    cost = Cost()
    for price in cost.false_alarm:
        threshold = price / (price + cost.missed_fraud) if optimal else 0.5
        counts = metrics.confusion(score, label, threshold)
        total = metrics.expected_cost(counts, cost.missed_fraud, price)
        result[f"cost_{price:g}"] = total / len(label) * 1000
    return result


def prequential(run: Run) -> tuple[Float64, Float64, Float64, Float64]:
    """Score, shadow score, label and V14 of every labelled row: made before the label was known."""
    rows = [orjson.loads(record.value) for record in run.records("labelled")]
    columns = [
        [row["score"] for row in rows],
        [row["shadow_score"] for row in rows],
        [row["is_fraud"] for row in rows],
        [row["features"]["V14"] for row in rows],
    ]
    score, shadow, label, v14 = (np.array(column, dtype=np.float64) for column in columns)
    return score, shadow, label, v14


def held_out(run: Run, seed: int) -> Rows:
    """1,000 drifted rows that were neither trained on nor streamed."""
    file = run.folder / "held-out.csv"
    runs.command(
        *("producer_sim", "stream", "--scenario", "paper", "--seed", HELD_OUT + seed),
        *("--drift-strength", DRIFT, "--no-publish", "--drifted-out", file),
    )
    return evaluate.load(file, run.model)


def one_seed(bootstrap: str, folder: Path, seed: int) -> dict[str, dict[str, Figures]]:
    """Both judgements of one seed: section -> line -> figures."""
    run = runs.paper(bootstrap, folder, drift_strength=DRIFT, seed=seed)
    score, shadow, label, v14 = prequential(run)
    model = run.model
    rows = held_out(run, seed)
    snapshot = evaluate.last_deployed(run.settings, model)
    healed, frozen = evaluate.scores(model, rows, snapshot)
    column = rows.x[:, model.features.index("V14")].astype(np.float64)
    return {
        "the stream, prequentially": _lines(score, shadow, label, v14),
        "held-out drifted rows, last snapshot": _lines(
            healed.astype(np.float64),
            frozen.astype(np.float64),
            rows.label.astype(np.float64),
            column,
        ),
    }


def _lines(score: Float64, shadow: Float64, label: Float64, v14: Float64) -> dict[str, Figures]:
    # A constant score has a log loss too: at best the one of the base rate.
    nothing = np.full(len(label), FRAUD_SHARE)
    legit, fraud = figures(nothing, label), figures(nothing + 0.5, label)
    fraud["log_loss"] = legit["log_loss"]
    return {
        "healed": figures(score, label),
        "frozen": figures(shadow, label),
        "all legit": legit,
        "all fraud": fraud,
        "Bayes ceiling": figures(bayes(v14), label, optimal=True),
    }


def table(bootstrap: str, folder: Path, unique: str, seeds: tuple[int, ...] = SEEDS) -> Table:
    """Mean ± sd over the seeds."""
    found = [one_seed(bootstrap, folder / f"honest-{s}-{unique}", s) for s in seeds]
    shown = Table(
        title=f"The same, judged honestly: mean ± sd over seeds {seeds[0]}–{seeds[-1]}; "
        "cost a 1,000 rows, FN $5,000",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    shown.add_column("", no_wrap=True)
    headings = ("accuracy", "F1", "log loss", "AP", "FP $15", "FP $200")
    for heading in headings:
        shown.add_column(heading, justify="right", no_wrap=True)
    for section in found[0]:
        shown.add_row(f"[bold]{section}[/]")
        for line in found[0][section]:
            cells = []
            for name in found[0][section][line]:
                values = [seed[section][line][name] for seed in found]
                form: Callable[[float], str] = _thousands if name.startswith("cost") else _plain
                cells.append(f"{form(float(np.mean(values)))}±{form(float(np.std(values)))}")
            shown.add_row(f"  {line}", *cells)
    return shown


def _plain(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")


def _thousands(value: float) -> str:
    return f"${value / 1000:,.0f}k"
