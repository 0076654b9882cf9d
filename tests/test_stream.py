"""The article's data, bit for bit.

The hashes are of the arrays with which the published figures were reproduced.
"""

from hashlib import sha256
from itertools import islice

import numpy as np
import pytest

from producer_sim.rows import Sample
from producer_sim.stream import article

TRAIN = "efde5bc8c271447e70975f3041634aed0f0c7fbd745704cd70482944627a95c2"
TEST = "b56c06ebdbc835cbb49e5d7cbf6277bd300ee4cbb36ad2f1c069250c6cdb036c"


def digest(sample: Sample) -> str:
    return sha256(sample.x.tobytes() + sample.is_fraud.tobytes()).hexdigest()


@pytest.mark.parametrize(
    ("strength", "drifted", "stream"),
    [
        (
            2.2,
            "124281f2ac8e01c2f2de20754731e239b8299872d208097b733f2aeff937c789",
            "b7003f8940dc76faa463929a3a783316b7c4f92e9597f0c406d72fddd0806c33",
        ),
        (
            3.5,
            "129b0cf5700748906e4704c2ba36288db2c581a341efd1bb3fe8699f9ac5a255",
            "30f5f95517e8f8d7219145a1f7fcc85c67685af67ff7b96f766dbc6ba3dcebb2",
        ),
    ],
)
def test_the_sets_and_the_stream_of_both_published_runs(
    strength: float, drifted: str, stream: str
) -> None:
    drawn = article(42, strength)
    assert digest(drawn.train) == TRAIN
    assert digest(drawn.test) == TEST
    assert digest(drawn.drifted) == drifted

    batches = list(islice(drawn.batches(), 25))
    joined = Sample(
        np.concatenate([batch.x for batch in batches]),
        np.concatenate([batch.is_fraud for batch in batches]),
    )
    assert digest(joined) == stream


def test_the_statistics_that_the_article_prints() -> None:
    drawn = article(42, 2.2)
    assert drawn.train.x.shape == (5_000, 10)
    assert drawn.train.x.dtype == np.float32
    assert drawn.train.is_fraud.sum() == 750
    assert drawn.train.x[:, 7].mean() == pytest.approx(-0.363, abs=5e-4)
    assert drawn.train.x[:, 7].std() == pytest.approx(1.323, abs=5e-4)
    # z passes 1 at batch 3, where the article's monitor begins.
    means = [batch.x[:, 7].mean() for batch in islice(drawn.batches(), 3)]
    assert abs(np.mean(means) + 0.363) / 1.323 == pytest.approx(1.45, abs=5e-3)


def test_numpys_global_generator_is_left_alone() -> None:
    np.random.seed(7)
    expected = np.random.RandomState(7).rand(3).tolist()
    next(article(42, 2.2).batches())
    assert np.random.rand(3).tolist() == expected


def test_another_seed_is_another_run() -> None:
    assert digest(article(43, 2.2).train) != TRAIN
