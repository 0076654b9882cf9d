"""A model directory: `model.toml` says what it is, safetensors files hold the weights.

model.toml            features, rules, reference statistics, hashes, how it was trained
model.safetensors     every weight
reference.safetensors quantiles of the training rows, a feature a column, and the moments of their
                      representation
shadow.safetensors    only where a separately trained model stands beside it
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import tomli_w
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from consumer import rules as rule_text
from consumer import states
from consumer.errors import ModelError, RegistryError
from consumer.model import PlainMLP, SelfHealingMLP
from consumer.reference import Trained
from consumer.rules import Rules

FORMAT = 1
MANIFEST = "model.toml"
WEIGHTS = "model.safetensors"
SHADOW = "shadow.safetensors"
REFERENCE = "reference.safetensors"


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


class Manifest(_Table):
    """The content of `model.toml`."""

    format: int
    model_version: str
    architecture: str
    width: int = Field(ge=1)
    features: list[str] = Field(min_length=1)
    rules: list[str]
    weights_sha256: str
    base_sha256: str
    reference: Reference
    fidi: Fidi
    shadow: Shadow | None = None
    reference_sha256: str | None = None  # without it nothing is aligned, no output is watched
    training: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class Model:
    """A loaded model directory: module in evaluation mode, its rules, its manifest."""

    manifest: Manifest
    module: SelfHealingMLP
    rules: Rules
    shadow: nn.Module | None
    base_adapter: Mapping[str, Tensor] = field(repr=False)
    trained: Trained | None = field(default=None, repr=False)

    @property
    def features(self) -> list[str]:
        """Feature names in the order of the columns."""
        return self.manifest.features

    def check_base(self) -> None:
        """Raises: ModelError where backbone or head no longer have the bytes that were loaded."""
        if base_sha256(self.module) != self.manifest.base_sha256:
            raise ModelError("backbone or head were changed while running; nothing more is scored")


def base_sha256(module: SelfHealingMLP) -> str:
    """Hash of everything that a heal must not touch."""
    return states.sha256(states.to_bytes(module.base_state()))


def make_folder(directory: Path) -> None:
    """Make the folder of a model, before hours of training.

    Raises: ModelError where it cannot be made.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(f"model directory {directory}: {error.strerror}") from error


def save(
    directory: Path,
    module: SelfHealingMLP,
    *,
    features: Sequence[str],
    rules: Sequence[str],
    watched: Sequence[str],
    reference: tuple[Reference, Trained],
    training: dict[str, Any],
    shadow: PlainMLP | None = None,
) -> Manifest:
    """Write a model directory; existing files of one are replaced."""
    statistics, trained = reference
    weights = states.to_bytes(module.state_dict())
    shadow_bytes = None if shadow is None else states.to_bytes(shadow.state_dict())
    arrays = {name: torch.from_numpy(array) for name, array in asdict(trained).items()}
    reference_bytes = states.to_bytes(arrays)
    manifest = Manifest(
        format=FORMAT,
        model_version=states.sha256(weights)[:12],
        architecture=type(module).__name__,
        width=module.head.in_features,
        features=list(features),
        rules=list(rules),
        weights_sha256=states.sha256(weights),
        base_sha256=base_sha256(module),
        reference=statistics,
        fidi=Fidi(features=list(watched)),
        shadow=None
        if shadow_bytes is None
        else Shadow(architecture="PlainMLP", sha256=states.sha256(shadow_bytes)),
        reference_sha256=states.sha256(reference_bytes),
        training=training,
    )
    make_folder(directory)
    try:
        (directory / WEIGHTS).write_bytes(weights)
        if shadow_bytes is not None:
            (directory / SHADOW).write_bytes(shadow_bytes)
        else:
            (directory / SHADOW).unlink(missing_ok=True)
        (directory / REFERENCE).write_bytes(reference_bytes)
        text = tomli_w.dumps(manifest.model_dump(exclude_none=True))
        (directory / MANIFEST).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ModelError(f"model directory {directory}: {error.strerror}") from error
    return manifest


def load(directory: Path) -> Model:
    """Read a model directory and check every hash in it.

    Raises: ModelError, naming the file and what is wrong with it.
    """
    try:
        text = (directory / MANIFEST).read_bytes()
        weights = (directory / WEIGHTS).read_bytes()
    except OSError as error:
        raise ModelError(
            f"model directory {directory}: {Path(str(error.filename)).name}: {error.strerror}. "
            "Make one with `python -m consumer train`."
        ) from error
    try:
        manifest = Manifest.model_validate(tomllib.loads(text.decode()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{directory / MANIFEST} is not TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ModelError(f"{directory / MANIFEST}: {where}: {first['msg']}") from error
    if manifest.format != FORMAT:
        raise ModelError(f"{directory / MANIFEST}: format {manifest.format}, we read {FORMAT}")
    if manifest.architecture != SelfHealingMLP.__name__:
        raise ModelError(
            f"{directory / MANIFEST}: architecture {manifest.architecture!r} is not known; "
            f"known: {SelfHealingMLP.__name__}"
        )
    _check_lengths(manifest, directory)
    module = SelfHealingMLP(len(manifest.features), manifest.width)
    _restore(module, weights, manifest.weights_sha256, directory / WEIGHTS)
    if base_sha256(module) != manifest.base_sha256:
        raise ModelError(f"{directory / WEIGHTS}: base_sha256 does not match the manifest")
    shadow = None
    if manifest.shadow is not None:
        try:
            data = (directory / SHADOW).read_bytes()
        except OSError as error:
            raise ModelError(f"{directory / SHADOW}: {error.strerror}") from error
        shadow = PlainMLP(len(manifest.features), manifest.width)
        _restore(shadow, data, manifest.shadow.sha256, directory / SHADOW)
    return Model(
        manifest,
        module,
        Rules([rule_text.parse(text) for text in manifest.rules], manifest.features),
        shadow,
        module.adapter_state(),
        _trained(directory, manifest),
    )


def _trained(directory: Path, manifest: Manifest) -> Trained | None:
    if manifest.reference_sha256 is None:
        return None
    file = directory / REFERENCE
    try:
        found = states.from_bytes(file.read_bytes(), manifest.reference_sha256, str(file))
        trained = Trained(**{each.name: found[each.name].numpy() for each in fields(Trained)})
    except OSError as error:
        raise ModelError(f"{file}: {error.strerror}") from error
    except (RegistryError, KeyError) as error:
        raise ModelError(f"{file}: {error}") from error
    width = (manifest.width,)
    shapes = (trained.quantiles.shape[1:], trained.latent_mean.shape, trained.latent_sd.shape)
    if shapes != ((len(manifest.features),), width, width):
        raise ModelError(
            f"{file}: {shapes[0]} columns of quantiles and moments of {shapes[1]} and {shapes[2]} "
            f"for {len(manifest.features)} features and a width of {manifest.width}"
        )
    return trained


def _check_lengths(manifest: Manifest, directory: Path) -> None:
    width = len(manifest.features)
    if len(set(manifest.features)) != width:
        raise ModelError(f"{directory / MANIFEST}: a feature is named twice")
    for name, values in (("mean", manifest.reference.mean), ("sd", manifest.reference.sd)):
        if len(values) != width:
            raise ModelError(
                f"{directory / MANIFEST}: reference.{name} has {len(values)} numbers "
                f"for {width} features"
            )
    if min(manifest.reference.sd) <= 0:
        raise ModelError(f"{directory / MANIFEST}: reference.sd must be above 0")
    for watched in manifest.fidi.features:
        if watched not in manifest.features:
            raise ModelError(f"{directory / MANIFEST}: fidi.features names {watched!r}, not there")


def _restore(module: nn.Module, data: bytes, sha256: str, file: Path) -> None:
    try:
        module.load_state_dict(states.from_bytes(data, sha256, str(file)))
    except RegistryError as error:
        raise ModelError(str(error)) from error
    except RuntimeError as error:  # torch names the missing or misshapen tensors over many lines
        raise ModelError(f"{file}: {' '.join(str(error).split())}") from error
    module.eval()
    module.requires_grad_(False)


def one_thread() -> None:
    """Use one torch thread: the model is small, and results must not depend on the machine."""
    torch.set_num_threads(1)
