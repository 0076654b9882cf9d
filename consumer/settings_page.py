"""Every setting on one page: name, what is in force, and what it does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from consumer.settings import Settings, masked


def show(settings: Settings) -> None:
    """Print the page."""
    table = Table(title="Settings: TOML file < environment REFLEXIVE__SECTION__KEY < flags")
    for heading in ("setting", "in force", "default", "what it does"):
        table.add_column(heading, overflow="fold")
    for name, value, default, description in _rows(type(settings), masked(settings)):
        table.add_row(name, str(value), str(default), description)
    Console().print(table)


def _rows(
    section: type[BaseModel], values: dict[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any, str]]:
    for key, info in section.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _rows(kind, values[key], f"{prefix}{key}.")
        else:
            default = info.get_default(call_default_factory=True)
            yield f"{prefix}{key}", values[key], default, info.description or ""
