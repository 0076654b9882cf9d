"""Weights of a model directory: safetensors into a module, or one line that says why not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from consumer import states
from consumer.errors import ModelError, RegistryError

# How torch.save and pickle begin a file: a zip archive, or pickle's protocol 2 and later.
_PICKLED = (b"PK\x03\x04", b"\x80")
_HEADER = 8  # bytes of safetensors before its "{"


def read(file: Path) -> bytes:
    """The bytes of a weight file.

    Raises: ModelError where it is not there, or pickled: unpickling would run its code.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ModelError(f"{file}: {error.strerror}") from error
    if data.startswith(_PICKLED) and data[_HEADER : _HEADER + 1] != b"{":
        raise ModelError(
            f"{file}: a pickled file, which is never read; write the weights as safetensors "
            "(consumer.bring_your_own.save does)"
        )
    return data


def to_bytes(module: nn.Module) -> bytes:
    """Every weight as safetensors.

    Raises: ModelError where two names share one tensor, which safetensors cannot tell.
    """
    found = module.state_dict()
    names: dict[int, str] = {}
    for name, tensor in found.items():
        other = names.setdefault(tensor.data_ptr(), name) if tensor.numel() else name
        if other != name:
            raise ModelError(f"weights {other!r} and {name!r} share memory: give each its own")
    return states.to_bytes(found)


def restore(module: nn.Module, data: bytes, sha256: str, file: Path) -> None:
    """Give the module its weights, in evaluation mode, frozen.

    Raises: ModelError where the hash differs, or a tensor is missing, too much, of another shape
    or not finite.
    """
    try:
        found = states.from_bytes(data, sha256, str(file))
    except RegistryError as error:
        raise ModelError(str(error)) from error
    wanted = module.state_dict()
    try:
        _check(found, wanted, {name for name, _ in module.named_parameters()})
        module.load_state_dict(found)
    except ModelError as error:
        raise ModelError(f"{file}: {error}") from error
    except RuntimeError as error:  # of a module that reads its weights in a way of its own
        raise ModelError(f"{file}: {' '.join(str(error).split())}") from error
    module.eval()
    module.requires_grad_(False)


def _check(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], learnt: set[str]) -> None:
    way_out = "the file is of another network, or damaged; write the directory again"
    for name, tensor in wanted.items():
        if name not in found:
            raise ModelError(f"no tensor {name!r}; {way_out}")
        one, other = tuple(found[name].shape), tuple(tensor.shape)
        if one != other:
            raise ModelError(f"tensor {name!r} has shape {one}, the network's {other}; {way_out}")
    for name, tensor in found.items():
        if name not in wanted:
            raise ModelError(f"tensor {name!r} is none of the network's; {way_out}")
        # A mask may hold infinities; a weight may not, and nothing may be no number.
        bad = torch.isnan(tensor) if name not in learnt else ~torch.isfinite(tensor)
        if bool(bad.any()):
            raise ModelError(
                f"tensor {name!r} has {int(bad.sum())} numbers that are not finite; train again"
            )
