"""A model directory: `model.toml` says what it is, safetensors files hold the weights.

model.toml            features, rules, reference statistics, hashes, how it was trained
model.safetensors     every weight
reference.safetensors quantiles of the training rows, a feature a column, and the moments of their
                      representation
shadow.safetensors    only where a separately trained model stands beside it
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import tomli_w
import torch
from torch import Tensor, nn

from consumer import manifest as manifests
from consumer import own_module, states, weights
from consumer.device import CPU
from consumer.errors import ModelError, RegistryError
from consumer.manifest import FORMAT, MANIFEST, MODULE, Fidi, Manifest, Reference, RuleTable, Shadow
from consumer.model import Healable, PlainMLP, SelfHealingMLP
from consumer.own_module import OwnModule
from consumer.reference import Trained
from consumer.rules import Rules

WEIGHTS = "model.safetensors"
SHADOW = "shadow.safetensors"
REFERENCE = "reference.safetensors"


@dataclass(frozen=True)
class Model:
    """A loaded model directory: module in evaluation mode, its rules, its manifest."""

    manifest: Manifest
    module: Healable
    rules: Rules
    shadow: nn.Module | None
    base_adapter: Mapping[str, Tensor] = field(repr=False)
    trained: Trained | None = field(default=None, repr=False)
    device: torch.device = CPU  # where its network computes; the module itself is on the CPU
    directory: Path | None = None  # that it was loaded from

    @property
    def features(self) -> list[str]:
        """Feature names in the order of the columns."""
        return self.manifest.features

    def check_base(self) -> None:
        """Raises: ModelError where backbone or head no longer have the bytes that were loaded."""
        if base_sha256(self.module) != self.manifest.base_sha256:
            raise ModelError("backbone or head were changed while running; nothing more is scored")


def base_sha256(module: Healable) -> str:
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
    module: Healable,
    *,
    features: Sequence[str],
    rules: Sequence[str | RuleTable],
    watched: Sequence[str],
    reference: tuple[Reference, Trained],
    training: dict[str, Any],
    shadow: PlainMLP | None = None,
) -> Manifest:
    """Write a model directory; existing files of one are replaced."""
    statistics, trained = reference
    data = weights.to_bytes(module.network)
    shadow_bytes = None if shadow is None else states.to_bytes(shadow.state_dict())
    arrays = {name: torch.from_numpy(array) for name, array in asdict(trained).items()}
    reference_bytes = states.to_bytes(arrays)
    own = module.about if isinstance(module, OwnModule) else None
    manifest = Manifest(
        format=FORMAT,
        model_version=states.sha256(data)[:12],
        architecture=MODULE if own else type(module).__name__,
        width=len(trained.latent_mean),
        features=list(features),
        rules=list(rules),
        weights_sha256=states.sha256(data),
        base_sha256=base_sha256(module),
        reference=statistics,
        fidi=Fidi(features=list(watched)),
        shadow=None
        if shadow_bytes is None
        else Shadow(architecture="PlainMLP", sha256=states.sha256(shadow_bytes)),
        module=own,
        features_sha256=manifests.features_sha256(features),
        reference_sha256=states.sha256(reference_bytes),
        training=training,
    )
    make_folder(directory)
    try:
        (directory / WEIGHTS).write_bytes(data)
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


def load(directory: Path, device: torch.device = CPU) -> Model:
    """Read a model directory and check every hash in it; its network computes on `device`.

    Raises: ModelError, naming the file and what is wrong with it.
    """
    manifest, rules = manifests.read(directory)
    data = weights.read(directory / WEIGHTS)
    module = _network(directory / MANIFEST, manifest)
    weights.restore(module.network, data, manifest.weights_sha256, directory / WEIGHTS)
    module.eval()
    if base_sha256(module) != manifest.base_sha256:
        raise ModelError(
            f"{directory / WEIGHTS}: base_sha256 does not match the manifest; "
            "the two files are not of one training: restore both"
        )
    if isinstance(module, OwnModule):
        _tried(directory / MANIFEST, manifest, module)
    shadow = None
    if manifest.shadow is not None:
        file = directory / SHADOW
        shadow = PlainMLP(len(manifest.features), manifest.width)
        weights.restore(shadow, weights.read(file), manifest.shadow.sha256, file)
    trained = _trained(directory, manifest)
    return Model(
        manifest, module, rules, shadow, module.adapter_state(), trained, device, directory
    )


def _network(file: Path, manifest: Manifest) -> Healable:
    if manifest.module is not None:
        try:
            return own_module.make(manifest.module)
        except ModelError as error:
            raise ModelError(f"{file}: {error}") from error
    if manifest.architecture == SelfHealingMLP.__name__:
        return SelfHealingMLP(len(manifest.features), manifest.width)
    raise ModelError(
        f"{file}: architecture {manifest.architecture!r} is not known; known: "
        f"{SelfHealingMLP.__name__}, and {MODULE} with a table [module]"
    )


def _tried(file: Path, manifest: Manifest, module: OwnModule) -> None:
    mean, sd = torch.tensor(manifest.reference.mean), torch.tensor(manifest.reference.sd)
    rows = torch.stack([mean, mean + sd, mean - sd])  # (3, features)
    try:
        width = own_module.check(module, manifest.features, rows)
    except ModelError as error:
        raise ModelError(f"{file}: {error}") from error
    if width != manifest.width:
        raise ModelError(f"{file}: width {manifest.width}, the adapter is given {width}")


def _trained(directory: Path, manifest: Manifest) -> Trained | None:
    if manifest.reference_sha256 is None:
        return None
    file = directory / REFERENCE
    try:
        found = states.from_bytes(weights.read(file), manifest.reference_sha256, str(file))
        trained = Trained(**{each.name: found[each.name].numpy() for each in fields(Trained)})
    except KeyError as error:
        raise ModelError(f"{file}: no tensor {error}; train again") from error
    except RegistryError as error:
        raise ModelError(str(error)) from error
    width = (manifest.width,)
    shapes = (trained.quantiles.shape[1:], trained.latent_mean.shape, trained.latent_sd.shape)
    if shapes != ((len(manifest.features),), width, width):
        raise ModelError(
            f"{file}: {shapes[0]} columns of quantiles and moments of {shapes[1]} and {shapes[2]} "
            f"for {len(manifest.features)} features and a width of {manifest.width}"
        )
    return trained


def one_thread() -> None:
    """Use one torch thread: the model is small, and results must not depend on the machine."""
    torch.set_num_threads(1)
