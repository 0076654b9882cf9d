"""The experts: ways to be right after a change, each a few numbers around the frozen network.

A new one is one file here and one line in `pool`. The mixture weighs them by their log loss on
labels as they come; the frozen model is always among them.
"""

from __future__ import annotations

from consumer.experts.adapter import Adapter
from consumer.experts.alignment import Alignment
from consumer.experts.base import Base, Expert, Learner, State
from consumer.experts.base_rate import BaseRate
from consumer.experts.frozen import Frozen
from consumer.experts.long_memory import LongMemory
from consumer.experts.prevalence import Prevalence
from consumer.experts.recent import Recent
from consumer.experts.residual import Residual
from consumer.experts.scaling import Scaling
from consumer.experts.sparse import Sparse
from consumer.experts.trees import Trees
from consumer.experts.tuned import Tuned
from consumer.model_directory import Model

__all__ = ["Base", "Expert", "Learner", "State", "pool"]


def pool(model: Model) -> tuple[Expert, ...]:
    """Every expert for this model, in the order in which their weights stand; frozen first."""
    mean, sd = model.manifest.reference.mean, model.manifest.reference.sd
    return (
        Frozen(),
        Adapter(),
        Scaling(mean, sd),
        Tuned(mean, sd),
        LongMemory(mean, sd),
        Residual(mean, sd),
        Recent(mean, sd),
        Sparse(mean, sd),
        Trees(),
        Alignment(mean),
        Prevalence(),
        BaseRate(model.manifest.reference.fraud_share),
    )
