"""Small streams that change, and the policy `hedge` run on them: what its tests share."""

from dataclasses import replace
from functools import cache

import numpy as np

from consumer.columns import Labels
from consumer.driver import Driver
from consumer.outputs import Outputs
from tests.streams import BATCH, DRIFT, STEP_MS, V14, Stream, model, settings, stream

HEDGE = {"heal.policy": "hedge", "heal.mode": "inline"}
CLEAN = 30 * BATCH
NEVER = 10**12


def ran(rows, flags=None, *, late_ms=0, of=None):
    """Everything said of a stream whose labels come late."""
    found = Outputs()

    def take(out):
        found.scores += out.scores
        found.events += out.events
        found.snapshots += out.snapshots
        found.activations += out.activations
        found.deployed += out.deployed
        found.registry += out.registry

    labels = rows.labels
    labels = replace(labels, labelled_at=labels.labelled_at + late_ms)
    if late_ms == NEVER:
        none = np.zeros(0, np.int64)
        labels = Labels(0, [], none, none.astype(np.int8), [], none)
    with Driver(settings(HEDGE | (flags or {})), of or model()) as driver:
        driver.run([(rows.transactions, labels)], take)
    return found


def after(change, rows=CLEAN, clean=CLEAN):
    """Clean rows, then `rows` that `change(x, fraud)` has changed."""
    given = stream(clean + rows, seed=5)
    x = given.transactions.x.copy()
    change(x[clean:], given.labels.is_fraud[clean:] == 1)
    return Stream(replace(given.transactions, x=x), given.labels)


def translate(x, fraud):
    x[:, V14] -= DRIFT


def to_and_fro(x, fraud):
    x[np.arange(len(x)) // CLEAN % 2 == 0, V14] -= DRIFT


def novel(x, fraud):
    """Fraud shows in V3 and no longer in V14."""
    rng = np.random.default_rng(4)
    x[fraud, V14] = rng.normal(size=fraud.sum())
    x[fraud, 0] = rng.normal(-2.5, 0.8, size=fraud.sum())


def onto_fraud(x, fraud):
    """Legitimate rows move to where the fraud is, which stays."""
    x[~fraud, V14] -= DRIFT


def lost(x, fraud):
    """Nothing tells them apart any more."""
    x[fraud] = np.random.default_rng(4).normal(size=(fraud.sum(), x.shape[1]))


def losses(out, given, start=CLEAN):
    """Mean log loss of what was published and of the frozen model, after the change."""
    y = given.labels.is_fraud[start:]
    found = []
    for name in ("score", "shadow"):
        p = np.concatenate([getattr(each, name) for each in out.scores]).astype(np.float64)
        p = np.clip(p[start:], 1e-6, 1 - 1e-6)
        found.append(float(-np.where(y == 1, np.log(p), np.log1p(-p)).mean()))
    return found


def said(out, action):
    return [e["reflexive"] for e in out.events if e["event"]["action"] == action]


@cache
def of_a_sure_change():
    """A stream that changes for good, its labels late, and what was said of it."""
    given = after(onto_fraud, 2 * CLEAN)
    return given, ran(given, late_ms=25 * BATCH * STEP_MS)
