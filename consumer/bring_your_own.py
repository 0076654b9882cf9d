"""A model directory of a network that is not ours, from Python."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from consumer import model_directory, own_module, train
from consumer.errors import DataError, ModelError
from consumer.manifest import Manifest, Module, Output, RuleTable
from consumer.own_module import OwnModule
from consumer.rows import Rows

TRIED = 64  # rows that the contract is tried on


def save(
    directory: Path | str,
    network: nn.Module,
    *,
    path: str,
    arguments: Mapping[str, Any],
    adapter: str,
    output: Output,
    features: Sequence[str],
    x: ArrayLike,
    label: ArrayLike,
    rules: Sequence[str | RuleTable] = (),
    watched: Sequence[str] = (),
) -> Manifest:
    """Write what `python -m consumer run --model DIRECTORY` needs, and read it back.

    `path`: "package.module:Class", called with `arguments` where the consumer starts.
    `adapter`: the submodule that heals. `output`: what the network gives, "logit" or "probability".
    `x: (rows, features)`, `label: (rows,)` 0 or 1: the rows it was trained on, oldest first.
    `watched`: the features that FIDI watches; default all.

    Raises: ModelError where the network does not keep the contract, or `path` makes another one;
    DataError where rows and features do not fit.
    """
    rows = Rows(tuple(features), np.array(x, np.float32), np.array(label, np.float32))
    if rows.x.shape != (len(rows), len(features)) or not len(rows):
        raise DataError(f"x has shape {rows.x.shape} for {len(rows)} labels of {len(features)}")
    about = Module(path=path, arguments=dict(arguments), adapter=adapter, output=output)
    module = OwnModule(copy.deepcopy(network).eval(), about)
    some = torch.from_numpy(rows.x[:TRIED])
    own_module.check(module, features, some)
    written = model_directory.save(
        Path(directory),
        module,
        features=features,
        rules=rules,
        watched=train.watched(watched, features),
        reference=train.reference(rows, module),
        training={"recipe": "own"},
    )
    found = model_directory.load(Path(directory)).module
    with torch.no_grad():
        if not torch.equal(found(some), module(some)):
            raise ModelError(f"{path} with these arguments and weights scores otherwise")
    return written
