"""How far adapter states lie apart, tensor by tensor, and in what their manifests differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from consumer.registry_view import Entry, View


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """A tensor's L2 norm, and its L2 distance from the same tensor of two other snapshots."""

    name: str
    shape: tuple[int, ...]
    norm: float
    from_parent: float | None  # None: there is no such snapshot, or it has no such tensor
    from_base: float | None


def facts(found: View, entry: Entry) -> list[TensorFacts]:
    """Every tensor of a snapshot by name, against its parent and the adapter as trained.

    Raises: RegistryError where the snapshot's own bytes are refused.
    """
    number = entry.manifest.get("parent")
    parent = found.entries.get(number) if isinstance(number, int) else None
    of_parent = parent.tensors() if parent is not None and parent.problem is None else {}
    base = found.base_of(entry)
    of_base = base.tensors() if base is not None else {}
    return [
        TensorFacts(
            name,
            tuple(tensor.shape),
            float(tensor.double().norm()),
            _distance(tensor, of_parent.get(name)),
            _distance(tensor, of_base.get(name)),
        )
        for name, tensor in sorted(entry.tensors().items())
    ]


@dataclass(frozen=True, slots=True)
class TensorChange:
    """How far a tensor moved from one snapshot to another; None where they cannot be compared."""

    name: str
    shape: tuple[int, ...] | None  # in the first; None: it has no such tensor
    other_shape: tuple[int, ...] | None
    norm: float | None  # L2 norm of the difference
    largest: float | None  # largest change of one number
    relative: float | None  # norm of the difference by the first's norm; None where that is 0


def changes(a: Entry, b: Entry) -> list[TensorChange]:
    """Every tensor of two snapshots.

    Raises: RegistryError where the bytes of one are refused.
    """
    first, second = a.tensors(), b.tensors()
    return [_change(name, first.get(name), second.get(name)) for name in sorted({*first, *second})]


def manifest_changes(a: Entry, b: Entry) -> dict[str, tuple[Any, Any]]:
    """The manifest fields that differ: name -> (in the first, in the second)."""
    names = [*a.manifest, *(name for name in b.manifest if name not in a.manifest)]
    pairs = {name: (a.manifest.get(name), b.manifest.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _distance(tensor: Tensor, other: Tensor | None) -> float | None:
    if other is None or other.shape != tensor.shape:
        return None
    return float((tensor.double() - other.double()).norm())


def _change(name: str, a: Tensor | None, b: Tensor | None) -> TensorChange:
    shape = None if a is None else tuple(a.shape)
    other = None if b is None else tuple(b.shape)
    if a is None or b is None or shape != other:
        return TensorChange(name, shape, other, None, None, None)
    difference, before = b.double() - a.double(), float(a.double().norm())
    norm = float(difference.norm())
    largest = float(difference.abs().max()) if difference.numel() else 0.0
    return TensorChange(name, shape, other, norm, largest, norm / before if before else None)
