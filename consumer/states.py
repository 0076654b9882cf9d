"""Adapter states as bytes: safetensors, hashed; nothing is ever unpickled."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from consumer.errors import RegistryError


def to_bytes(state: Mapping[str, Tensor]) -> bytes:
    """Serialise by name order, so that equal states give equal bytes.

    Source: https://huggingface.co/docs/safetensors
    """
    return safetensors.torch.save({name: state[name].contiguous() for name in sorted(state)})


def sha256(data: bytes) -> str:
    """Hex digest."""
    return hashlib.sha256(data).hexdigest()


def from_bytes(data: bytes, expected: str, what: str) -> dict[str, Tensor]:
    """Read a state back, each tensor where torch itself would have put it.

    The last bits of a product depend on how its factors lie in memory, and safetensors packs them.

    Raises: RegistryError where the hash is not `expected`, or the bytes are no safetensors.
    """
    found = sha256(data)
    if found != expected:
        raise RegistryError(
            f"{what}: sha256 is {found[:12]}…, its manifest says {expected[:12]}…; it is refused"
        )
    try:
        return {name: tensor.clone() for name, tensor in safetensors.torch.load(data).items()}
    except SafetensorError as error:
        raise RegistryError(f"{what}: not safetensors ({error}); it is refused") from error
