"""A join's columns in a local file: a restart reads it instead of the whole changelog.

The file is safetensors, preceded by the 16 bytes of xxh3_128 of all that follows. It saves time
only: whatever is wrong with it, the changelog holds the same, so a bad file is a reason, no error.

Source: https://huggingface.co/docs/safetensors (format)
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import xxhash
from numpy.typing import NDArray
from safetensors import numpy as tensors

Columns = dict[str, NDArray[Any]]

_DIGEST = 16


def save(path: Path, columns: Mapping[str, NDArray[Any]], meta: Mapping[str, str]) -> None:
    """Write `Join.columns` so that either all of it is there afterwards or what was before.

    Raises: OSError.
    """
    whole = tensors.save(
        {name: np.ascontiguousarray(column) for name, column in columns.items()}, dict(meta)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(xxhash.xxh3_128_digest(whole))
            file.write(whole)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def load(path: Path, meta: Mapping[str, str]) -> Columns | str:
    """The columns of a file whose metadata is exactly `meta`; otherwise why there are none."""
    try:
        with path.open("rb") as file:
            digest, whole = file.read(_DIGEST), file.read()
    except FileNotFoundError:
        return f"no cache {path}"
    except OSError as error:
        return f"cache {path}: {error.strerror}"
    if xxhash.xxh3_128_digest(whole) != digest:
        return f"cache {path} is truncated or corrupted"
    try:
        found = _metadata(whole)
        if found != dict(meta):
            return f"cache {path} is of {_shown(found)}, not of {_shown(meta)}"
        return tensors.load(whole)
    except (ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        return f"cache {path} is not of this format: {error}"


def _metadata(whole: bytes) -> dict[str, str]:
    length = int.from_bytes(whole[:8], "little")
    header: dict[str, Any] = json.loads(whole[8 : 8 + length])
    return dict(header.get("__metadata__", {}))


def _shown(meta: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(meta.items())) or "nothing named"
