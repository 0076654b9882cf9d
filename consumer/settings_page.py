"""Every setting as a TOML file that says what each does: to read, or to begin one's own from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from textwrap import wrap
from typing import Any

import tomli_w
from pydantic import BaseModel

from consumer.settings import MASK, Settings, masked

_WIDTH = 88


def page(settings: Settings) -> str:
    """The settings in force, each with its description and, where it differs, its default."""
    head = [
        "# TOML file < environment REFLEXIVE__SECTION__KEY < flags (--set section.key=value)",
        "",
    ]
    return "\n".join([*head, *_section(type(settings), masked(settings), "")])


def _section(kind: type[BaseModel], values: dict[str, Any], name: str) -> Iterator[str]:
    subsections = []
    for key, info in kind.model_fields.items():
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            subsections.append((inner, values[key], f"{name}.{key}" if name else key))
            continue
        default = info.get_default(call_default_factory=True)
        default = list(default) if isinstance(default, tuple) else default
        note = "" if values[key] == default else f" Default: {default}."
        secret = [name for name, inner in _items(values[key]) if inner == MASK]
        note += f" Not shown here, as secrets: {', '.join(secret)}." if secret else ""
        yield from (f"# {line}" for line in wrap(f"{info.description}{note}", _WIDTH))
        # TOML has no null: a setting that is not given stands there as a comment.
        yield f"# {key} =" if values[key] is None else f"{key} = {_value(values[key])}"
        yield ""
    for inner, inside, path in subsections:
        yield f"[{path}]"
        yield from _section(inner, inside, path)


def _items(value: Any) -> Iterable[tuple[str, Any]]:
    return value.items() if isinstance(value, dict) else ()


def _key(name: str) -> str:
    return tomli_w.dumps({name: 0}).rsplit(" = ", 1)[0]


def _value(value: Any) -> str:
    if isinstance(value, dict):  # inline: a [table] would end the section it stands in
        inside = [
            f"{_key(name)} = {_value(inner)}"
            for name, inner in value.items()
            if inner is not None and inner != MASK
        ]
        return f"{{ {', '.join(inside)} }}" if inside else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return tomli_w.dumps({"_": value}).removeprefix("_ = ").strip()
