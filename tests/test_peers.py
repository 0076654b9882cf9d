"""Peers do the work that we do: the same scores of the same bytes; one that fails is left out."""

import orjson
import pytest

from benchmarks import streams
from benchmarks.live import Run
from benchmarks.peers.__main__ import OURS, in_turns, lines, small
from benchmarks.peers.model import Model
from consumer import model_directory
from consumer.rows import Rows
from consumer.score import Scorer
from consumer.train import reference, train
from producer_sim import encode
from producer_sim.scenarios import Scenario, stream


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    (chunk,) = streams.columns(2_000, 3)
    names = tuple(chunk.features)
    x = streams.matrix(chunk)
    rows = Rows(names, x, chunk.is_fraud.astype("float32"))
    module, how = train(rows, 1, lambda *_: None)
    folder = tmp_path_factory.mktemp("model")
    model_directory.save(
        folder,
        module,
        features=names,
        rules=[],
        watched=names,
        reference=reference(rows, module),
        training=how,
    )
    return folder


def test_a_peer_scores_as_we_do(directory):
    (chunk,) = streams.columns(500, 3, seed=7)
    model = model_directory.load(directory)
    ours, _ = Scorer(model).adapted(streams.matrix(chunk), model.base_adapter)

    scored = Model(directory)([value.encode() for value in encode.transactions(chunk)])

    assert [key.decode() for key, _ in scored] == chunk.ids
    said = [orjson.loads(value) for _, value in scored]
    assert [each["score"] for each in said] == pytest.approx(ours.tolist(), abs=1e-6)
    assert {each["decision"] for each in said} == {"approve", "decline"}


def test_a_message_is_as_long_as_the_report_says():
    (chunk,) = small(stream(Scenario.none, 42, rows=5_000))
    values = encode.transactions(chunk)

    assert round(sum(map(len, values)) / len(values)) == 198
    assert len(set(chunk.ids)) == 5_000


def test_one_that_fails_is_named_and_left_out_of_the_table():
    calls = []

    def works(run):
        calls.append(run)
        return Run(1_000, 0.5 if "Other" in run else 1.0, 0.25, {})

    def fails(run):
        raise RuntimeError("no such thing")

    found, failed = in_turns({OURS: works, "broken": fails, "Other": works}, 2)

    assert failed == {"broken": "no such thing"}
    assert [call.rpartition("-")[0] for call in calls] == [
        *("Reflexivethewhole", "Other"),
        *("Other", "Reflexivethewhole"),
    ]
    first, second = lines(found)
    assert (first[0], first[2], first[3]) == (
        "Other",
        "2,000 (2,000 to 2,000)",
        "0.50 (0.50 to 0.50)",
    )
    assert (second[0], second[5]) == (OURS, "1.00 (1.00 to 1.00)")
