"""One typed tree of settings: TOML file < environment < flags.

A setting `section.key` is read from the TOML file as `[section] key`, from the environment as
`REFLEXIVE__SECTION__KEY`, and from the command line as `--set section.key=value` (or its own flag).

Source: https://docs.pydantic.dev/latest/concepts/pydantic_settings/
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from consumer.errors import SettingsError
from consumer.sections import (
    Audit,
    Batch,
    Commands,
    Commit,
    Cost,
    DeadLetters,
    Decision,
    Heal,
    Health,
    Input,
    Join,
    Kafka,
    Log,
    Order,
    Prequential,
    Segment,
    Watch,
)

DAY_MS = 24 * 60 * 60 * 1000

DEFAULT_FILE = Path("reflexive.toml")
ENV_PREFIX = "REFLEXIVE__"

Delivery = Literal["exactly_once", "at_least_once"]

_Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]+$", max_length=200)]


class Settings(BaseSettings):
    """The whole tree. Build it with `load`."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    application_id: _Name = Field(
        "reflexive", description="Names the consumer group and prefixes our own topics."
    )
    instance_id: _Name = Field(
        "0", description="Stable over restarts, unique to a process: part of the transactional id."
    )
    delivery: Delivery = Field(
        "exactly_once",
        description="exactly_once: everything a poll leads to and its offsets in one transaction. "
        "at_least_once: none; output is seen some milliseconds sooner, and after a crash what came "
        "since the last commit is scored, counted and announced a second time.",
    )
    model: Path | None = Field(None, description="Model directory made by `train`.")
    device: str = Field(
        "cpu",
        description="Where the network computes: cpu, or cuda (cuda:1), which pays for networks of "
        "a million numbers and more.",
    )
    kafka: Kafka = Kafka()
    input: Input = Input()
    dead_letters: DeadLetters = DeadLetters()
    batch: Batch = Batch()
    join: Join = Join()
    watch: Watch = Watch()
    heal: Heal = Heal()
    commands: Commands = Commands()
    health: Health = Health()
    decision: Decision = Decision()
    cost: Cost = Cost()
    segments: dict[str, Segment] = Field(
        default_factory=dict,
        description="Columns of groups that no heal may harm, by name: "
        '{ age = { feature = "customer_age", cuts = [25.0, 65.0] }, '
        'country = { path = "card.country", values = ["DE", "FR"] } }.',
    )
    prequential: Prequential = Prequential()
    commit: Commit = Commit()
    audit: Audit = Audit()
    log: Log = Log()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # `load` hands over {"file": …, "flags": …}; the environment stands between the two.
        assert isinstance(init_settings, InitSettingsSource)
        given = init_settings.init_kwargs
        return (
            InitSettingsSource(settings_cls, given.get("flags", {})),
            EnvSettingsSource(settings_cls),
            InitSettingsSource(settings_cls, given.get("file", {})),
        )

    def topic(self, name: str) -> str:
        """Name of one of our own topics, such as `scores`."""
        return f"{self.application_id}.{name}"

    @property
    def transactional_id(self) -> str:
        """Stable over restarts, unique to a process."""
        return f"{self.application_id}-{self.instance_id}"

    @property
    def by_amount(self) -> bool:
        """Has every transaction thresholds of its own?"""
        return self.decision.from_costs and self.cost.amount_feature is not None

    def order(self, *, until_end: bool) -> Order:
        """The order in force."""
        replay = until_end or self.heal.mode == "inline"
        return self.input.order or ("event_time" if replay else "arrival")


def load(file: Path | None = None, flags: dict[str, Any] | None = None) -> Settings:
    """Read the settings tree.

    `file`: TOML; without one `reflexive.toml` of the working directory, if it is there.
    `flags`: dotted name -> value, None is "not given".

    Raises: SettingsError, naming the setting and what it must be.
    """
    tree: dict[str, Any] = {}
    for name, value in (flags or {}).items():
        if value is None:
            continue
        node = tree
        *sections, key = _split(name)
        for section in sections:
            node = node.setdefault(section, {})
            if not isinstance(node, dict):
                raise SettingsError(f"setting {name}: {section!r} is given a value of its own")
        node[key] = value
    _refuse_unknown_environment()
    try:
        return Settings(file=_read(file), flags=tree)  # type: ignore[call-arg]
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc']))}: {_wrong(e)} (got {_shown(e)})" for e in error.errors()
        )
        raise SettingsError(
            f"setting {problems}. See `python -m consumer settings` for every setting."
        ) from error
    except ValueError as error:  # a JSON value of an environment variable that does not parse
        raise SettingsError(f"settings: {error}") from error


MASK = "***"


def masked(settings: Settings) -> dict[str, Any]:
    """The effective settings as plain data, secrets replaced by `MASK`."""
    shown = settings.model_dump(mode="json")
    properties = shown["kafka"]["properties"]
    for name in properties:
        if _is_secret(name):
            properties[name] = MASK
    return shown


_SECRETS = ("password", "passphrase", "secret", "token", "key.pem", "jaas", "oauthbearer.config")


def _is_secret(name: str) -> bool:
    return any(part in name.lower() for part in _SECRETS)


def _wrong(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "no such setting"
    return str(error["msg"]).removeprefix("Value error, ")


def _shown(error: Any) -> str:
    if error["loc"][0] == "kafka":  # whatever is wrong there may hold a password
        return "***"
    return repr(error["input"])[:80]


def _split(name: str) -> list[str]:
    # librdkafka's own names hold dots: kafka.properties.security.protocol
    head = "kafka.properties."
    if name.startswith(head):
        return ["kafka", "properties", name.removeprefix(head)]
    return name.split(".")


def _read(file: Path | None) -> dict[str, Any]:
    if file is None:
        if not DEFAULT_FILE.exists():
            return {}
        file = DEFAULT_FILE
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"settings file {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings file {file} is not TOML: {error}") from error


def _refuse_unknown_environment() -> None:
    # pydantic-settings reads only names it knows: a misspelt variable would be ignored in silence.
    known = {name.upper() for name in Settings.model_fields}
    for variable in os.environ:
        if not variable.upper().startswith(ENV_PREFIX):
            continue
        section = variable[len(ENV_PREFIX) :].split("__")[0].upper()
        if section not in known:
            raise SettingsError(
                f"environment variable {variable}: there is no setting {section.lower()!r}; "
                f"known: {', '.join(sorted(Settings.model_fields))}"
            )
