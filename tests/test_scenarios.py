"""Each drift, by the statistics of its stream; and what every stream and set promises."""

from itertools import pairwise

import numpy as np
import pytest

from producer_sim.rows import SPACING_MS, Transactions
from producer_sim.scenarios import START_MS, Scenario, sets, stream
from producer_sim.stream import article

MADE_UP = [scenario for scenario in Scenario if scenario is not Scenario.paper]
DAY_MS = 86_400_000


def whole(scenario: Scenario, seed: int = 42, rows: int | None = None) -> Transactions:
    chunks = list(stream(scenario, seed, rows=rows))
    return Transactions(
        ids=[each for chunk in chunks for each in chunk.ids],
        times=np.concatenate([chunk.times for chunk in chunks]),
        features={
            name: np.concatenate([chunk.features[name] for chunk in chunks])
            for name in chunks[0].features
        },
        is_fraud=np.concatenate([chunk.is_fraud for chunk in chunks]),
    )


def batches(rows: Transactions, first: int, last: int) -> dict[str, tuple[float, float]]:
    """Mean and deviation, by class and feature, of batches `first` to `last`, from 1."""
    part = slice((first - 1) * 100, last * 100)
    fraud = rows.is_fraud[part] == 1
    found = {"share": (float(fraud.mean()), 0.0)}
    for name, column in rows.features.items():
        for label, cells in (("fraud", column[part][fraud]), ("legit", column[part][~fraud])):
            found[f"{label} {name}"] = (float(cells.mean()), float(cells.std()))
    return found


CLEAN = {"fraud V14": (-2.5, 0.8), "share": (0.15, 0.0)}


@pytest.mark.parametrize(
    ("scenario", "after"),
    [
        (Scenario.none, CLEAN),
        (Scenario.seed, {**CLEAN, "legit V14": (-2.2, 1.0)}),
        (Scenario.translate, {**CLEAN, "legit V14": (-2.2, 1.0), "fraud V14": (-4.7, 0.8)}),
        (Scenario.noise, {**CLEAN, "legit V14": (-2.2, 1.0), "fraud V14": (-4.7, 0.8)}),
        (Scenario.novel, {**CLEAN, "fraud V14": (0.0, 1.0), "fraud V3": (-2.5, 0.8)}),
        (Scenario.prior, {**CLEAN, "share": (0.03, 0.0)}),
    ],
)
def test_thirty_clean_batches_then_the_scenarios_own(
    scenario: Scenario, after: dict[str, tuple[float, float]]
) -> None:
    rows = whole(scenario)
    assert len(rows) == 15_000
    # The fewest in a class are the 360 frauds of `prior` and the 450 of the clean batches: four
    # standard errors of a mean are 0.21 and 0.19, of a deviation 0.7 times as much.
    for segment, expected in (((1, 30), CLEAN), ((31, 150), after)):
        for name, (mean, deviation) in batches(rows, *segment).items():
            if name == "share":
                assert mean == pytest.approx(expected[name][0], abs=0.02), name
            else:
                assert (mean, deviation) == pytest.approx(expected.get(name, (0, 1)), abs=0.2), name


def test_gradual_moves_both_classes_a_fiftieth_a_batch() -> None:
    rows, still = whole(Scenario.gradual), whole(Scenario.none)
    shift = rows.features["V14"] - still.features["V14"]
    expected = [0.0] * 30 + [-2.2 * step / 50 for step in range(1, 51)] + [-2.2] * 70
    np.testing.assert_allclose(shift, np.repeat(expected, 100), atol=1e-5)


def test_recurring_goes_away_and_comes_back_and_goes_on_so() -> None:
    rows, still = whole(Scenario.recurring, rows=24_000), whole(Scenario.none, rows=24_000)
    shift = rows.features["V14"] - still.features["V14"]
    expected = [0.0, -2.2, 0.0, -2.2, 0.0, -2.2, 0.0, -2.2]
    np.testing.assert_allclose(shift, np.repeat(expected, 3_000), atol=1e-5)


def test_the_drift_strength_is_how_far_v14_moves() -> None:
    still = whole(Scenario.none).features["V14"]
    strong = np.concatenate(
        [chunk.features["V14"] for chunk in stream(Scenario.translate, 42, strength=1.0)]
    )
    np.testing.assert_allclose((strong - still)[3_000:], -1.0, atol=1e-5)


def test_paper_streams_the_articles_batches() -> None:
    rows, drawn = whole(Scenario.paper), article(42, 2.2)
    assert len(rows) == 2_500
    some = drawn.batches()
    for start in range(0, 2_500, 100):
        batch = next(some)
        x = np.column_stack([column[start : start + 100] for column in rows.features.values()])
        assert x.tobytes() == batch.x.tobytes()
        assert (rows.is_fraud[start : start + 100] == batch.is_fraud).all()


def test_only_noise_flips_labels_by_itself() -> None:
    assert {scenario: scenario.label_noise for scenario in Scenario if scenario.label_noise} == {
        Scenario.noise: 0.1
    }


@pytest.mark.parametrize("scenario", Scenario)
def test_the_same_call_draws_the_same_and_a_longer_stream_begins_alike(scenario: Scenario) -> None:
    once, again, longer = whole(scenario), whole(scenario), whole(scenario, rows=25_033)
    assert len(longer) == 25_033
    for other in (again, longer):
        assert other.ids[: len(once)] == once.ids
        assert other.times[: len(once)].tolist() == once.times.tolist()
        assert other.is_fraud[: len(once)].tobytes() == once.is_fraud.tobytes()
        for name, column in once.features.items():
            assert other.features[name][: len(once)].tobytes() == column.tobytes()
    assert whole(scenario, seed=43).features["V1"][0] != once.features["V1"][0]


@pytest.mark.parametrize("scenario", Scenario)
def test_ids_are_unique_and_training_lies_before_the_stream(scenario: Scenario) -> None:
    rows, beside = whole(scenario), sets(scenario, 42)
    assert rows.ids[0] == f"{scenario.value}-42-0000001"
    parts = (beside.train, beside.test, beside.drifted, rows)
    assert [len(part) for part in parts[:3]] == [5_000, 1_000, 1_000]
    ids = [each for part in parts for each in part.ids]
    assert len(set(ids)) == len(ids)

    assert rows.times[0] == START_MS == 1_767_225_600_000
    assert (np.diff(rows.times) == SPACING_MS).all()
    assert rows.times[99] - rows.times[0] > 1_000  # a batch of 100 spans over a second
    # Labels up to 90 days late are known when the stream begins.
    for earlier, later in pairwise([beside.train.times, beside.test.times]):
        assert earlier[-1] < later[0]
    assert beside.test.times[-1] < START_MS - 90 * DAY_MS


@pytest.mark.parametrize("scenario", MADE_UP)
def test_the_sets_are_of_the_clean_and_of_the_drifted_concept(scenario: Scenario) -> None:
    beside, rows = sets(scenario, 42), whole(scenario)
    clean, drifted = batches(rows, 1, 30), batches(rows, 81, 120)
    if scenario is Scenario.recurring:
        drifted = batches(rows, 31, 60)
    # 30 frauds in `prior`: four standard errors are 0.73; 150 elsewhere: 0.33.
    loose = 0.75 if scenario is Scenario.prior else 0.35
    for part, expected in (
        (beside.train, clean),
        (beside.test, clean),
        (beside.drifted, drifted),
    ):
        found = batches(part, 1, len(part) // 100)
        assert found["share"][0] == pytest.approx(expected["share"][0], abs=0.04)
        for name in ("fraud V14", "legit V14", "fraud V3"):
            assert found[name][0] == pytest.approx(expected[name][0], abs=loose), name
    # Fresh rows, not the stream's.
    assert not set(beside.drifted.features["V1"].tolist()) & set(rows.features["V1"].tolist())
