"""The `train` command: rows in, a progress bar, a model directory out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from consumer import manifest, model_directory, rows, train
from consumer.errors import DataError


def run(
    data: Path,
    out: Path,
    *,
    features: Sequence[str] | None,
    label: str,
    time: str | None,
    rule_texts: Sequence[str],
    watch: Sequence[str] | None,
    recipe: train.Recipe,
    test: Path | None,
    seed: int,
) -> None:
    """Train and write; everything that can be wrong is found before training starts."""
    model_directory.one_thread()
    table = rows.load(data, features, label, time)
    held_out = rows.load(test, table.features, label, time) if test else None
    stated = manifest.parsed(rule_texts, table.features)
    watched = train.watched(watch, table.features)
    if len(table) < 10:
        raise DataError(f"{data}: {len(table)} rows are too few to train on")
    model_directory.make_folder(out)
    console = Console(stderr=True)
    console.print(
        f"{len(table):,} rows, {len(table.features)} features, "
        f"{table.label.mean():.2%} fraud; {len(stated)} rule(s)"
        + ("" if len(stated) else ": without one the consistency term of a heal is off")
    )
    console.print(f"features: {', '.join(table.features)}", markup=False, highlight=False)
    shadow = None
    with Progress(
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeElapsedColumn(),
        console=console,
    ) as bar:
        task = bar.add_task("", total=None, loss="")

        def progress(done: int, most: int, loss: float | None) -> None:
            shown = "" if loss is None else f"holdout log loss {loss:.4f}"
            bar.update(task, completed=done, total=most, loss=shown)

        trained: dict[str, Any] = {"recipe": recipe, "seed": seed}
        if recipe == "paper":
            module, shadow = train.train_paper(table, seed, progress)
        else:
            module, how = train.train(table, seed, progress)
            trained |= how
            bar.update(task, total=how["epochs"])
    if held_out is not None:
        trained["test"] = train.figures(module, held_out)
        if shadow is not None:
            trained["shadow_test"] = train.figures(shadow, held_out)
    written = model_directory.save(
        out,
        module,
        features=table.features,
        rules=[rule.name for rule in stated.rules],
        watched=watched,
        reference=train.reference(table, module),
        training=trained,
        shadow=shadow,
    )
    console.print(f"{out}: model {written.model_version}")
    for name in ("holdout", "test"):
        if name in trained:
            shown = "  ".join(f"{key} {value:.4g}" for key, value in trained[name].items())
            console.print(f"{name}: {shown}")
