"""Does the published experiment come out of our own parts, through Kafka, digit for digit?

    make paper

Prints its tables beside the published ones and exits 1 where a printed digit differs. Exact on the
pinned torch, one thread, x86-64.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
import tomllib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import honest, runs
from benchmarks.runs import Run
from consumer import evaluate, restore
from consumer.metrics import Confusion
from consumer.sections import Cost
from tests.broker import real_broker

PUBLISHED = Path(__file__).parent.parent / "tests" / "paper"


class Figure(NamedTuple):
    """A published figure as printed, and ours in the same print."""

    name: str
    published: str
    ours: str

    @property
    def same(self) -> bool:
        """To the printed digit?"""
        return self.published == self.ours


def published_run(run: Run) -> Iterator[Figure]:
    """Every row of the published table, and every batch."""
    want = tomllib.loads((PUBLISHED / "figures.toml").read_text())["published"]
    model = run.model
    column = model.features.index("V14")
    reference = model.manifest.reference
    yield Figure("FIDI mu", want["fidi_mu"], f"{reference.mean[column]:.3f}")
    yield Figure("FIDI sigma", want["fidi_sigma"], f"{reference.sd[column]:.3f}")
    over = [e for e in run.events("batch-monitored") if e["z"] > 1]
    first = want["fidi_first_batch_over_1"]
    yield Figure("z passes 1 at batch", first, str(over[0]["batch"]))
    yield Figure("z there", want["fidi_z_there"], f"{over[0]['z']:.2f}")
    yield Figure("z stays above 1", "23 batches", f"{len(over)} batches")
    parameters = list(model.module.parameters())
    yield Figure("parameters", want["parameters"], str(sum(p.numel() for p in parameters)))
    adapter = sum(p.numel() for p in model.module.adapter_parameters().values())
    yield Figure("adapter parameters", want["adapter_parameters"], str(adapter))
    for name, counts in stages(run).items():
        yield Figure(name, want[name], rates(counts))
        if f"{name}_counts" in want:
            shown = f"TP {counts.tp:g} TN {counts.tn:g} FP {counts.fp:g} FN {counts.fn:g}"
            yield Figure(f"{name}, counts", want[f"{name}_counts"], shown)
    labelled = run.events("batch-labelled")
    lifts = [100 * (e["in_force"]["accuracy"] - e["frozen"]["accuracy"]) for e in labelled]
    shown = f"mean {sum(lifts) / len(lifts):+.2f} least {min(lifts):+.0f} most {max(lifts):+.0f}"
    yield Figure("lift, points a batch", want["lift"], shown)
    yield from counts_of(run, want)
    best = max(snapshots(run), key=lambda found: found["figures"]["f1"])
    figures = best["figures"]
    shown = (
        f"v{best['version']} batch {best['batch']} "
        f"{short(figures['accuracy'])} {short(figures['f1'])}"
    )
    yield Figure("best snapshot", want["best"], shown)
    yield from batches(run, PUBLISHED / "batches.csv")


def rollback_run(run: Run) -> Iterator[Figure]:
    """The rollback stress run (drift_strength 3.5, f1_drop .03)."""
    want = tomllib.loads((PUBLISHED / "figures.toml").read_text())["rollback"]
    yield from counts_of(run, want)
    rolled = " ".join(str(e["labelled_batch"]) for e in run.events("rollback"))
    yield Figure("rollbacks at batches", want["rollback_batches"], rolled)
    yield Figure("healed", want["healed"], rates(stages(run)["healed"]))
    yield from batches(run, PUBLISHED / "batches-rollback.csv")


def stages(run: Run) -> dict[str, Confusion]:
    """Clean, frozen and healed on the 1,000-row sets; healed from the registry's snapshot."""
    model = run.model
    clean, drifted = (evaluate.load(run.file(name), model) for name in ("test", "drifted"))
    snapshot = evaluate.last_deployed(run.settings, model)
    healed, frozen = evaluate.scores(model, drifted, snapshot)
    threshold = run.settings.decision.threshold
    return {
        "clean": evaluate.judge(evaluate.scores(model, clean, None)[0], clean, threshold),
        "frozen": evaluate.judge(frozen, drifted, threshold),
        "healed": evaluate.judge(healed, drifted, threshold),
    }


def snapshots(run: Run) -> list[dict[str, Any]]:
    """Manifests of the post-heal snapshots."""
    found = restore.snapshots(run.settings, run.model).values()
    return [dict(s.manifest) for s in found if s.kind == "post-heal"]


def counts_of(run: Run, want: dict[str, str]) -> Iterator[Figure]:
    """Heals, rollbacks and snapshots."""
    yield Figure("heals", want["heals"], str(len(run.events("heal-deployed"))))
    yield Figure("rollbacks", want["rollbacks"], str(len(run.events("rollback"))))
    kept = sum((r.key or b"").startswith(b"snapshot/") for r in run.records("registry"))
    yield Figure("snapshots", want["snapshots"], str(kept))


def batches(run: Run, file: Path) -> Iterator[Figure]:
    """z, conflicts, accuracy, F1 (after the decision) and the shadow's accuracy, a batch a line."""
    monitored, labelled = run.events("batch-monitored"), run.events("batch-labelled")
    with file.open() as lines:
        want = list(csv.reader(lines))[1:]
    for index, row in enumerate(want):
        if index >= min(len(monitored), len(labelled)):
            yield Figure(f"batch {row[0]}", " ".join(row), "missing")
            continue
        watched, judged = monitored[index], labelled[index]
        ours = (
            str(watched["batch"]),
            f"{watched['z']:.2f}",
            str(watched["conflicts"]),
            f"{judged['in_force']['accuracy']:.3f}",
            f"{judged['in_force']['f1']:.3f}",
            f"{judged['frozen']['accuracy']:.3f}",
        )
        yield Figure(f"batch {row[0]}", " ".join(row), " ".join(ours))


def rates(counts: Confusion) -> str:
    """Accuracy, precision, recall, F1 as the article prints them."""
    return " ".join(map(short, (counts.accuracy, counts.precision, counts.recall, counts.f1)))


def short(value: float) -> str:
    """Three decimals without the leading zero."""
    return f"{value:.3f}".removeprefix("0")


def show(title: str, figures: list[Figure]) -> Table:
    """Ours beside theirs."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("figure", "published", "through Kafka", ""):
        table.add_column(heading)
    for figure in figures:
        table.add_row(*figure[:3], "same" if figure.same else "[bold red]DIFFERS[/]")
    return table


def main() -> None:
    """Run, print, and exit 1 where a digit differs."""
    argparse.ArgumentParser(prog="python -m benchmarks.paper", description=__doc__).parse_args()
    console = Console(width=120)
    unique = uuid.uuid4().hex[:8]
    with real_broker() as broker, tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        published = runs.paper(broker.bootstrap, folder / f"paper-{unique}")
        figures = list(published_run(published))
        console.print(show("The published run", figures))
        found = stages(published)
        costs = [evaluate.Stage(name, counts) for name, counts in found.items()]
        console.print(evaluate.table("What it costs, FN $5,000", costs, Cost()))
        console.print(evaluate.verdict(found["healed"], found["frozen"], Cost()))
        stress = runs.paper(
            broker.bootstrap, folder / f"rollback-{unique}", drift_strength=3.5, f1_drop=0.03
        )
        rolled = list(rollback_run(stress))
        console.print(show("The rollback stress run", rolled))
        console.print(honest.table(broker.bootstrap, folder, unique))
    different = [figure for figure in figures + rolled if not figure.same]
    console.print(f"{len(figures) + len(rolled)} published figures, {len(different)} differ")
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
