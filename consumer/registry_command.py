"""The `registry` commands: adapter states as they were published, for a person to look at."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from consumer import options
from consumer.errors import RegistryError
from consumer.settings import Settings

if TYPE_CHECKING:
    from consumer.registry_view import Entry, Span, View

app = typer.Typer(
    help="Look at the adapter states on the registry topic; no model is needed.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Version = Annotated[int, typer.Argument(help="As `list` shows it, without the v.")]
Json = Annotated[bool, typer.Option("--json", help="JSON instead of text.")]


@app.command("list")
@options.connected
def list_(
    settings: Settings,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """One line a snapshot.

    Records that are corrupt, not ours, or of another base model are named on standard error.
    """
    found = _read(settings)
    for warning in found.warnings:
        typer.echo(f"warning: {warning}", err=True)
    for entry in found.entries.values():
        typer.echo(orjson.dumps(_object(found, entry)) if json else _line(found, entry))
    if not found.entries and not json:
        typer.echo(f"no snapshot in topic {found.topic!r}")


@app.command()
@options.connected
def show(
    settings: Settings,
    version: Version,
    json: Json = False,
) -> None:
    """Manifest, hash check, where it was active, tensors."""
    found = _read(settings)
    from consumer import registry_diff

    entry = found.entry(version)
    tensors = registry_diff.facts(found, entry) if entry.problem is None else []
    if json:
        typer.echo(orjson.dumps({**_object(found, entry), "tensors": tensors}))
        return
    for name, value in entry.manifest.items():
        typer.echo(f"{name:<14}{_shown(name, value)}")
    typer.echo(f"{'deployed':<14}{'yes' if found.deployed == version else 'no'}")
    typer.echo(f"{'active':<14}{', '.join(map(_span, found.active(version))) or 'nowhere'}")
    typer.echo(f"{'hash check':<14}{entry.problem or 'sha256 is what the manifest says'}")
    if tensors:
        typer.echo(f"\n{'tensor':<24}{'shape':>12}{'norm':>12}{'from parent':>14}{'from base':>14}")
    for one in tensors:
        typer.echo(
            f"{one.name:<24}{_shape(one.shape):>12}{one.norm:>12.5g}"
            f"{_number(one.from_parent):>14}{_number(one.from_base):>14}"
        )


@app.command()
@options.connected
def diff(
    settings: Settings,
    a: Version,
    b: Version,
    json: Json = False,
) -> None:
    """What changed from version A to B.

    How far each tensor moved, and the manifest fields that differ.
    """
    found = _read(settings)
    from consumer import registry_diff

    first, second = found.entry(a), found.entry(b)
    tensors = registry_diff.changes(first, second)
    fields = registry_diff.manifest_changes(first, second)
    if json:
        typer.echo(orjson.dumps({"a": a, "b": b, "tensors": tensors, "manifest": fields}))
        return
    typer.echo(f"{'tensor':<24}{'shape':>12}{'difference':>12}{'largest':>12}{'relative':>12}")
    for one in tensors:
        shape = _shape(one.shape)
        if one.other_shape != one.shape:
            shape += f" -> {_shape(one.other_shape)}"
        relative = "-" if one.relative is None else f"{one.relative:.2%}"
        typer.echo(
            f"{one.name:<24}{shape:>12}{_number(one.norm):>12}{_number(one.largest):>12}"
            f"{relative:>12}"
        )
    typer.echo("")
    for name, (one_value, other_value) in fields.items():
        typer.echo(f"{name:<14}{_shown(name, one_value)} -> {_shown(name, other_value)}")


@app.command()
@options.connected
def export(
    settings: Settings,
    version: Version,
    out: Annotated[Path, typer.Option(help="File to write; the manifest goes to OUT.json.")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
) -> None:
    """Write a snapshot as safetensors.

    Its manifest goes beside it. Refused where the bytes do not match the hash in the manifest.
    """
    beside = out.parent / f"{out.name}.json"
    for file in (out, beside):
        if file.exists() and not force:
            raise RegistryError(f"{file} is there already; --force overwrites it")
    entry = _read(settings).entry(version)
    tensors = entry.tensors()
    try:
        out.write_bytes(entry.value)
        beside.write_bytes(orjson.dumps(dict(entry.manifest), option=orjson.OPT_INDENT_2) + b"\n")
    except OSError as error:
        raise RegistryError(f"{error.filename}: {error.strerror}") from error
    typer.echo(f"v{version}: {len(tensors)} tensors, {len(entry.value):,} bytes to {out}")


def _read(settings: Settings) -> View:
    from consumer import registry_view  # brings torch, which takes seconds: not for a wrong flag

    return registry_view.read(settings)


def _object(found: View, entry: Entry) -> dict[str, Any]:
    return {
        **entry.manifest,
        "version": entry.version,
        "deployed": found.deployed == entry.version,
        "active": found.active(entry.version),
        "problem": entry.problem,
    }


def _line(found: View, entry: Entry) -> str:
    manifest = entry.manifest
    parent = manifest.get("parent")
    parts = [
        f"v{entry.version}",
        str(manifest.get("kind")),
        "no parent" if parent is None else f"parent v{parent}",
    ]
    if manifest.get("taken_at") is not None:
        parts.append(_shown("taken_at", manifest["taken_at"]))
    if manifest.get("topic") is not None:
        place = f"{manifest['topic']}[{manifest.get('partition')}] offset {manifest.get('offset')}"
        parts.append(place)
    parts.append(str(manifest.get("reason")))
    if manifest.get("figures") is not None:
        parts.append("in-sample " + _shown("figures", manifest["figures"]))
    parts.append(f"sha256 {str(manifest.get('sha256'))[:12]}, {len(entry.value):,} bytes")
    if spans := found.active(entry.version):
        parts.append("active " + ", ".join(map(_span, spans)))
    if entry.problem is not None:
        parts.append("REFUSED")
    if found.deployed == entry.version:
        parts.append("deployed")
    return " | ".join(parts)


def _span(span: Span) -> str:
    to = "on" if span.stop is None else f"to {span.stop - 1}"
    return f"{span.topic}[{span.partition}] from {span.start} {to}"


def _shown(name: str, value: Any) -> str:
    """A manifest's field for a person."""
    # Until the year 9999: a manifest of somebody else's may hold any number.
    if name == "taken_at" and isinstance(value, int) and 0 <= value < 253_402_300_800_000:
        return datetime.fromtimestamp(value / 1000, UTC).isoformat(timespec="milliseconds")
    if name == "figures" and isinstance(value, dict):
        return " ".join(
            f"{figure} {number:.3g}" if isinstance(number, float) else f"{figure} {number}"
            for figure, number in value.items()
        )
    return "-" if value is None else str(value)


def _shape(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else "x".join(map(str, shape)) or "scalar"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.5g}"
