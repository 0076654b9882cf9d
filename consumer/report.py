"""A report: what our topics say about a run, as metrics.csv, events, thresholds and nine plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from consumer import export, metrics, plots
from consumer.costs import break_even
from consumer.errors import DataError, ReflexiveError
from consumer.export import Event, Table
from consumer.kafka import topics
from consumer.kafka.reader import read_all, read_objects
from consumer.plots.story import Costs
from consumer.prequential import Prequential, prequential
from consumer.settings import Settings
from consumer.stages import Clean, clean, stages

_SNAPSHOT = b"snapshot/"
_DECISIONS = ("heal-deployed", "rollback", "heal-discarded")


@dataclass(frozen=True, slots=True)
class Messages:
    """What was read from our topics."""

    scored: int
    labelled: Prequential
    events: Sequence[Event]
    snapshots: Sequence[Mapping[str, Any]]  # manifests, by version


@dataclass(frozen=True, slots=True)
class Report:
    """What was written, and the headline over every labelled row, in a batch or not."""

    folder: Path
    files: tuple[Path, ...]
    scored: int  # rows
    labelled: int  # rows
    batches: int
    alarms: int  # batches
    heals: int
    rollbacks: int
    healed: dict[str, float | None]  # as metrics.figures gives them
    frozen: dict[str, float | None]
    reviewed: tuple[float, float]  # labelled rows, by weight: healed and frozen
    costs: dict[float, tuple[float, float]]  # by price of a false alarm: (healed, frozen)
    break_even: float | None  # price of a false alarm at which both cost the same

    def __str__(self) -> str:
        """What a terminal shows: the headline, and where the files are."""
        return "\n".join([*summary(self), f"{len(self.files)} files in {self.folder}"])


def report(settings: Settings, out: Path, model: Path | None = None) -> Report:
    """Read our topics to their ends and write the export folder; what is there is replaced.

    `model`: directory whose model.toml gives the clean line of the plots.

    Raises: KafkaUnavailableError without a broker, ReflexiveError where nothing was scored yet,
    ModelError and DataError where a file cannot be read or written.
    """
    before_drift = None if model is None else clean(model)
    return write(read(settings), settings, out, before_drift)


def summary(found: Report) -> list[str]:
    """The headline in a few lines for a terminal."""
    lines = [
        f"{found.scored:,} rows scored, {found.labelled:,} labelled; {found.alarms:,} of "
        f"{found.batches:,} batches alarmed, {found.heals:,} heals, {found.rollbacks:,} rollbacks"
    ]
    if not found.labelled:
        return [*lines, "no labelled rows: nothing can be said about how right the scores were"]
    for name in metrics.FIGURES:
        healed, frozen = found.healed[name], found.frozen[name]
        if healed is not None and frozen is not None:
            shown = name.replace("_", " ")
            lines.append(f"{shown:<18} healed {healed:.3f}   frozen {frozen:.3f}")
    if any(found.reviewed):
        lines.append("reviewed           healed {:,.0f}   frozen {:,.0f}".format(*found.reviewed))
    for price, (healed_cost, frozen_cost) in found.costs.items():
        lines.append(
            f"expected cost at {price:,g} a false alarm: healed {healed_cost:,.0f}, "
            f"frozen {frozen_cost:,.0f}"
        )
    if found.break_even is not None:
        lines.append(f"both cost the same where a false alarm costs {found.break_even:,.2f}")
    return lines


def read(settings: Settings) -> Messages:
    """Everything a report needs of our topics.

    Raises: ReflexiveError where this application has scored nothing.
    """
    found = Messages(
        scored=sum(1 for _ in read_all(settings.kafka, topics.written(settings, "scores"))),
        labelled=prequential(
            read_objects(settings.kafka, settings.topic("labelled")), settings.cost
        ),
        events=export.unique(read_objects(settings.kafka, settings.topic("events"))),
        snapshots=_manifests(settings),
    )
    if not found.scored and not len(found.labelled) and not found.events:
        raise ReflexiveError(
            f"nothing scored yet: the topics of application {settings.application_id!r} at "
            f"{settings.kafka.bootstrap_servers} are empty. Send transactions, or name another "
            "application with --application-id."
        )
    return found


def write(
    found: Messages, settings: Settings, out: Path, before_drift: Clean | None = None
) -> Report:
    """Write the export folder.

    Raises: DataError where the folder cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        files = [out / "metrics.csv", out / "events.json", out / "threshold_config.json"]
        export.write_metrics(
            files[0],
            export.metrics_rows(found.events, found.labelled, settings.cost),
            export.columns(settings.cost.false_alarm),
        )
        export.write_json(files[1], export.decisions(found.events))
        thresholds = export.thresholds(found.events, settings)
        export.write_json(files[2], {"format": 1, "thresholds": thresholds})
        table = export.read_metrics(files[0])
        files += plots.draw(_story(table, found, settings, before_drift), out)
    except OSError as error:
        raise DataError(f"report folder {out}: {error.strerror}. Name another: --out") from error
    return _headline(found, settings, out, tuple(files), table)


def _headline(
    found: Messages, settings: Settings, out: Path, files: tuple[Path, ...], table: Table
) -> Report:
    rows, cost = found.labelled, settings.cost
    healed, frozen = rows.bills(cost.review)
    reviewed, frozen_reviewed = rows.reviewed()
    figures, frozen_figures = rows.figures()
    return Report(
        folder=out,
        files=files,
        scored=found.scored,
        labelled=len(rows),
        batches=len(table),
        alarms=int(table.flags("alarm").sum()),
        heals=len(export.of(found.events, "heal-deployed")),
        rollbacks=len(export.of(found.events, "rollback")),
        healed=figures,
        frozen=frozen_figures,
        reviewed=(reviewed, frozen_reviewed),
        costs={price: (healed.at(price), frozen.at(price)) for price in cost.false_alarm},
        break_even=break_even(healed, frozen),
    )


def _story(
    table: Table, found: Messages, settings: Settings, before_drift: Clean | None
) -> plots.Story:
    limit, feature = export.fidi(found.events, settings.watch.fidi_z)
    return plots.Story(
        table=table,
        limit=np.array(limit),
        feature=feature,
        snapshots=found.snapshots,
        restored=frozenset(
            e["reflexive"]["restored_version"] for e in export.of(found.events, "rollback")
        ),
        decided={action: export.decided(found.events, action) for action in _DECISIONS},
        totals={action: len(export.of(found.events, action)) for action in _DECISIONS},
        stages=stages(table, found.labelled),
        clean=before_drift,
        costs=_costs(found, settings),
    )


def _costs(found: Messages, settings: Settings) -> Costs | None:
    if not len(found.labelled):
        return None
    in_force = export.thresholds(found.events, settings)["decision.threshold"]
    return Costs(
        *found.labelled.curves(),
        settings.cost.false_alarm,
        None if settings.by_amount else in_force,
    )


def _manifests(settings: Settings) -> list[dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for record in read_all(settings.kafka, settings.topic("registry")):
        if record.key is None or record.value is None or not record.key.startswith(_SNAPSHOT):
            continue
        manifest = dict(record.headers).get("manifest")
        if manifest is not None:
            content = orjson.loads(manifest)
            found[content["version"]] = content
    return [found[version] for version in sorted(found)]
