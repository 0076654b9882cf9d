"""Lines are filled in from columns, and are byte for byte what a dictionary a row would give."""

import numpy as np
import orjson
import pytest

from consumer import encode
from consumer.columns import Labelled, Scores, Transactions
from consumer.decision import decided
from consumer.sections import Segment
from consumer.segments import Segments

ROWS = 500
PLAIN = [f"t-{number}" for number in range(ROWS)]
# What could be taken for the end of a string, for a place of the template, or for two bytes.
ODD = ['a"', ",", '"', '",', '","', "a\\", '\\"', "%b", "%", "é", "\n", "☃", "b"]
FEATURES = ("V1", 'V"%b', "é")


def transactions(ids):
    draws = np.random.default_rng(1)
    rows = len(ids)
    # From the smallest to the largest float32 there is, and whole numbers.
    x = draws.standard_normal((rows, 3)) * 10.0 ** draws.integers(-44, 38, (rows, 3))
    x[::7] = np.round(x[::7])
    offset = np.arange(rows, dtype=np.int64)
    return Transactions(3, ids, 1_767_225_600_000 + offset, x.astype(np.float32), offset)


def probabilities(rows, seed):
    draws = np.random.default_rng(seed)
    found = np.exp(-40 * draws.random(rows)).astype(np.float32)
    found[:3] = (0.0, 1.0, 0.5)[:rows]
    return found


@pytest.mark.parametrize("ids", [PLAIN, ODD, [","] * 3, PLAIN[:1]])
@pytest.mark.parametrize("by_row", [False, True])
def test_scores(ids, by_row):
    rows = transactions(ids)
    score, shadow = probabilities(len(rows), 1), probabilities(len(rows), 2)
    threshold = probabilities(len(rows), 3).astype(np.float64) if by_row else 0.5
    made, other = decided(score, threshold, 0.9), decided(shadow, threshold, 0.9)
    batch = Scores(rows, score, shadow, threshold, made, other, 7, "HEALTHY", provisional=True)

    found = list(encode.scores(batch, "%b topic", "m-1"))

    limits = np.broadcast_to(threshold, len(rows))
    assert found == [
        (
            name,
            orjson.dumps(
                {
                    "transaction_id": name,
                    "event_time": int(rows.event_time[n]),
                    "score": float(score[n]),
                    "shadow_score": float(shadow[n]),
                    "decision": "decline"
                    if score[n] >= 0.9
                    else "review"
                    if score[n] >= limits[n]
                    else "approve",
                    "threshold": float(limits[n]),
                    "model_version": "m-1",
                    "adapter_version": 7,
                    "provisional": True,
                    "state": "HEALTHY",
                    "topic": "%b topic",
                    "partition": 3,
                    "offset": n,
                }
            ),
        )
        for n, name in enumerate(ids)
    ]


@pytest.mark.parametrize("ids", [PLAIN, ODD])
def test_labelled(ids):
    rows = transactions(ids)
    count = len(rows)
    score, shadow = probabilities(count, 1), probabilities(count, 2)
    batch = Labelled(
        3,
        ids,
        rows.event_time,
        rows.event_time + 7,
        (np.arange(count) % 2).astype(np.int8),
        [None if n % 3 else 'who "%b"' for n in range(count)],
        rows.x,
        score,
        shadow,
        probabilities(count, 3).astype(np.float64),
        (np.arange(count) % 3).astype(np.int8),
        (np.arange(count) % 2).astype(np.int8),
        np.arange(count, dtype=np.int64) + 5,
        rows.offset,
        1 / (0.1 + probabilities(count, 4).astype(np.float64)),
        (np.arange(count)[:, None] % 4).astype(np.uint8),
    )
    columns = {"country": Segment(path="at", values=["%b", "DE"])}

    segments = Segments(columns, FEATURES)
    found = list(encode.labelled(batch, "t", FEATURES, segments, correction=True))

    assert found == [
        (
            name,
            orjson.dumps(
                {
                    "transaction_id": name,
                    "event_time": int(rows.event_time[n]),
                    "labelled_at": int(rows.event_time[n]) + 7,
                    "delay_ms": 7,
                    "is_fraud": n % 2,
                    "source": None if n % 3 else 'who "%b"',
                    "features": dict(zip(FEATURES, rows.x[n].tolist(), strict=True)),
                    "score": float(score[n]),
                    "shadow_score": float(shadow[n]),
                    "threshold": float(batch.threshold[n]),
                    "decision": ("approve", "review", "decline")[n % 3],
                    "shadow_decision": ("approve", "review")[n % 2],
                    "adapter_version": n + 5,
                    "weight": float(batch.weight[n]),
                    "segments": [f"country={('unknown', '%b', 'DE', 'other')[n % 4]}"],
                    "correction": True,
                    "topic": "t",
                    "partition": 3,
                    "offset": n,
                }
            ),
        )
        for n, name in enumerate(ids)
    ]
    assert list(encode.labelled(batch.rows(0, 0), "t", FEATURES)) == []


def test_no_row_gives_no_line():
    nothing = transactions(PLAIN).rows(0, 0)
    none = np.empty(0, np.float32)
    batch = Scores(nothing, none, none, 0.5, decided(none, 0.5), decided(none, 0.5), 1, "HEALTHY")
    assert list(encode.scores(batch, "t", "m")) == []
