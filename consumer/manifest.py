"""`model.toml`: what a model directory says of itself, and whether that can be."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from consumer import rules
from consumer.errors import ModelError
from consumer.rules import Rules

FORMAT = 1
MANIFEST = "model.toml"
# What `architecture` says of a network that is not ours: `[module]` has its import path.
MODULE = "module"

Output = Literal["logit", "probability"]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Noise(_Table):
    """How a column that is watched varies where nothing changes."""

    sd: float = Field(gt=0)
    skewness: float
    unrest: float = Field(ge=1)


class Reference(_Table):
    """Statistics of the training rows, in the order of the features."""

    rows: int = Field(ge=1)
    fraud_share: float = Field(ge=0, le=1)
    mean: list[float]
    sd: list[float]
    # What a change is measured by, see consumer/hedge/change.py; without them: by sd alone.
    skewness: list[float] = Field(default_factory=list)
    unrest: list[float] = Field(default_factory=list)
    outputs: list[Noise] = Field(default_factory=list)  # of consumer/hedge/probes.py


class Fidi(_Table):
    """What the drift signal watches."""

    features: list[str] = Field(min_length=1)


class Shadow(_Table):
    """A separately trained model beside ours; without one the shadow is our own frozen copy."""

    architecture: Literal["PlainMLP"]
    sha256: str


class RuleTable(_Table):
    """A rule with a name: `[[rules]]`."""

    name: str = Field(min_length=1)
    when: str
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)


class Module(_Table):
    """A network that is not ours, see consumer/own_module.py."""

    path: str = Field(pattern=r"^[\w.]+:[\w.]+$")
    arguments: dict[str, Any] = Field(default_factory=dict)
    adapter: str = Field(min_length=1)
    output: Output


class Manifest(_Table):
    """The content of `model.toml`."""

    format: int
    model_version: str
    architecture: str
    width: int = Field(ge=1)  # of what the adapter is given, flattened
    features: list[str] = Field(min_length=1)
    rules: list[Annotated[str | RuleTable, Field(union_mode="left_to_right")]]
    weights_sha256: str
    base_sha256: str
    reference: Reference
    fidi: Fidi
    shadow: Shadow | None = None
    module: Module | None = None
    features_sha256: str | None = None  # without it their names and order are not checked
    reference_sha256: str | None = None  # without it nothing is aligned, no output is watched
    training: dict[str, Any] = Field(default_factory=dict)


def features_sha256(features: Sequence[str]) -> str:
    """Hash of the names in their order: of another order the weights would mean something else."""
    return hashlib.sha256("\0".join(features).encode()).hexdigest()


def parsed(stated: Sequence[str | RuleTable], features: Sequence[str]) -> Rules:
    """Rules as `model.toml` and the command line state them.

    Raises: ModelError where one cannot be read.
    """
    return Rules(
        [
            rules.parse(one, features)
            if isinstance(one, str)
            else rules.parse(one.when, features, one.name, one.weight)
            for one in stated
        ]
    )


def read(directory: Path) -> tuple[Manifest, Rules]:
    """Read and check `model.toml`.

    Raises: ModelError, naming the key and what is wrong with it.
    """
    file = directory / MANIFEST
    try:
        manifest = Manifest.model_validate(tomllib.loads(file.read_bytes().decode()))
    except OSError as error:
        raise ModelError(
            f"model directory {directory}: {MANIFEST}: {error.strerror}. "
            "Make one with `python -m consumer train`."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{file} is not TOML: {error}") from error
    except ValidationError as error:
        # The deepest: a rule that is a table is also no text, and that says nothing.
        first = max(error.errors(), key=lambda one: len(one["loc"]))
        where = ".".join(str(step) for step in first["loc"] if step not in ("str", "RuleTable"))
        raise ModelError(f"{file}: {where}: {first['msg']}") from error
    try:
        _check(manifest)
        return manifest, parsed(manifest.rules, manifest.features)
    except ModelError as error:
        raise ModelError(f"{file}: {error}") from error


def _check(manifest: Manifest) -> None:
    if manifest.format != FORMAT:
        raise ModelError(f"format {manifest.format}, we read {FORMAT}")
    if (manifest.architecture == MODULE) != (manifest.module is not None):
        raise ModelError(f"architecture = {MODULE!r} and a table [module] belong together")
    width = len(manifest.features)
    if len(set(manifest.features)) != width:
        raise ModelError("a feature is named twice")
    hashed = manifest.features_sha256
    if hashed is not None and hashed != features_sha256(manifest.features):
        raise ModelError(
            "features are not those that the model was trained on, or in another order; "
            "restore them, or train again"
        )
    for name, values in (("mean", manifest.reference.mean), ("sd", manifest.reference.sd)):
        if len(values) != width:
            raise ModelError(f"reference.{name} has {len(values)} numbers for {width} features")
    if min(manifest.reference.sd) <= 0:
        raise ModelError("reference.sd must be above 0")
    for watched in manifest.fidi.features:
        if watched not in manifest.features:
            raise ModelError(f"fidi.features names {watched!r}, not there")
