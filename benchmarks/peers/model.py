"""The model as a peer has it: a torch forward pass of the same weights, bytes in and bytes out.

What a peer imports of ours is this, and of it the network's class alone: nothing of the consumer's
stages runs in a peer.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import orjson
import torch
from safetensors.torch import load_file

from consumer.model import SelfHealingMLP

THRESHOLD = 0.5


class Model:
    """`model(values)`: key and value of the score of each transaction, in their order."""

    def __init__(self, directory: Path) -> None:
        """Of a model directory of `consumer train`."""
        torch.set_num_threads(1)
        about = tomllib.loads((directory / "model.toml").read_text())
        self._features: list[str] = about["features"]
        self._network = SelfHealingMLP(len(self._features), about["width"])
        self._network.load_state_dict(load_file(directory / "model.safetensors"))
        self._network.eval()

    @torch.inference_mode()
    def __call__(self, values: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
        """Decode JSON, one forward pass over all of them, encode JSON."""
        rows = [orjson.loads(value) for value in values]
        wanted = self._features
        x = np.array([[row["features"][name] for name in wanted] for row in rows], np.float32)
        scores = self._network(torch.from_numpy(x)).tolist()  # (rows,)
        return [
            (
                row["transaction_id"].encode(),
                orjson.dumps(
                    {
                        "transaction_id": row["transaction_id"],
                        "event_time": row["event_time"],
                        "score": score,
                        "decision": "approve" if score < THRESHOLD else "decline",
                    }
                ),
            )
            for row, score in zip(rows, scores, strict=True)
        ]
