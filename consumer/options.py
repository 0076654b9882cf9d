"""Options that several commands share, and the settings they lead to."""

from __future__ import annotations

import functools
import inspect
import tomllib
from collections.abc import Callable
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any

import typer

from consumer import logs
from consumer.errors import SettingsError
from consumer.settings import Settings, load

SettingsFile = Annotated[
    Path | None,
    typer.Option("--settings", help="TOML file of settings; default reflexive.toml, if there."),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="SECTION.KEY=VALUE", help="Any setting, over file and environment."
    ),
]
BootstrapServers = Annotated[
    str | None, typer.Option(help="Brokers, as host:port,host:port. [kafka.bootstrap_servers]")
]
ApplicationId = Annotated[
    str | None, typer.Option(help="Names group, transactional id and our topics. [application_id]")
]
TransactionsTopic = Annotated[
    str | None, typer.Option(help="Input; keyed by transaction id. [input.transactions.topic]")
]
LabelsTopic = Annotated[
    str | None, typer.Option(help="Input; as many partitions. [input.labels.topic]")
]


CONNECTED = {
    "bootstrap_servers": BootstrapServers,
    "application_id": ApplicationId,
    "settings": SettingsFile,
    "set_": Set,
}


def connected(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, after its own options, those that say where a consumer's topics are.

    It is called with the settings in force as its first argument.
    """
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
    shared = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=hint)
        for name, hint in CONNECTED.items()
    ]
    parameters = [*(one.replace(kind=Parameter.KEYWORD_ONLY) for one in own), *shared]

    @functools.wraps(command)
    def found(
        *,
        bootstrap_servers: str | None = None,
        application_id: str | None = None,
        settings: Path | None = None,
        set_: list[str] | None = None,
        **given: Any,
    ) -> None:
        flags = {"kafka.bootstrap_servers": bootstrap_servers, "application_id": application_id}
        command(effective(settings, set_, flags), **given)

    # What typer reads.
    vars(found)["__signature__"] = inspect.Signature(parameters)
    found.__annotations__ = {one.name: one.annotation for one in parameters}
    return found


def effective(file: Path | None, given: list[str] | None, flags: dict[str, Any]) -> Settings:
    """The settings in force; logging is set up by them.

    `given`: what `--set` was given. `flags`: dotted name -> value of a flag of its own, which wins.
    """
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals:
            raise SettingsError(f"--set {text}: expected SECTION.KEY=VALUE")
        if flags.get(name) is None:
            flags[name] = _parsed(value)
    found = load(file, flags)
    logs.configure(found.log)
    return found


def model_of(settings: Settings) -> Path:
    """The model directory.

    Raises: SettingsError where none is named.
    """
    if settings.model is None:
        raise SettingsError("no model: name a model directory with --model (see `train`)")
    return settings.model


def _parsed(text: str) -> Any:
    """Lists and tables as TOML; anything else is text, and the setting's type decides."""
    if not text.startswith(("[", "{")):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"--set {text}: {error}") from error
