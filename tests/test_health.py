"""The published health monitor: what its baseline is, and the exact batch at which it speaks."""

import pytest

from consumer.health import Health


def verdict(health):
    return health.check(f1_drop=0.08, accuracy_drop=0.10)


def batches_with_a_reason(health, figures):
    """Numbers of the batches, each healed on, after which there is a reason to roll back."""
    found = []
    for number, (accuracy, f1) in enumerate(figures, 1):
        health.update(accuracy, f1, after_heal=True)
        said = verdict(health)
        if said is not None and said.reasons:
            found.append(number)
    return found


def test_nothing_is_said_before_the_first_heal():
    health = Health(window=5, min_updates=3)

    for _ in range(10):
        health.update(0.0, 0.0, after_heal=False)
        assert verdict(health) is None


def test_nothing_is_said_before_the_third_batch():
    health = Health(window=5, min_updates=3)

    said = []
    for _ in range(3):
        health.update(0.9, 0.5, after_heal=True)
        said.append(verdict(health) is not None)
    assert said == [False, False, True]


def test_the_baseline_is_the_first_heals_and_stays():
    health = Health(window=2, min_updates=1)
    health.update(0.2, 0.1, after_heal=False)
    health.update(0.7, 0.4, after_heal=True)
    health.update(0.9, 0.8, after_heal=True)

    found = verdict(health)

    assert (found.baseline_accuracy, found.baseline_f1) == (0.7, 0.4)
    assert (found.window_accuracy, found.window_f1) == (0.8, pytest.approx(0.6))
    assert found.reasons == ()


def test_it_speaks_when_the_moving_mean_has_fallen_by_more_than_the_drop():
    figures = [(0.9, 0.4)] * 5 + [(0.9, 0.25)] * 5

    # With k of the five at .25 the mean has fallen by .03 k: more than .08 from k = 3 on.
    assert batches_with_a_reason(Health(5, 3), figures) == [8, 9, 10]


def test_the_window_forgets():
    health = Health(window=2, min_updates=1)
    for f1 in (0.5, 0.0, 0.0, 0.5, 0.5):
        health.update(0.9, f1, after_heal=True)

    assert verdict(health).window_f1 == 0.5


def test_batches_without_a_heal_count_in_the_window():
    health = Health(window=3, min_updates=3)
    health.update(0.9, 0.6, after_heal=True)
    health.update(0.9, 0.3, after_heal=False)
    health.update(0.9, 0.3, after_heal=False)

    assert verdict(health).reasons == ("F1 fell by 0.200 > 0.080",)


@pytest.mark.parametrize(
    ("accuracy", "f1", "reasons"),
    [
        (0.75, 0.25, ()),  # a fall of exactly the drop is none
        (0.5, 0.5, ("accuracy fell by 0.500 > 0.250",)),
        (0.5, 0.125, ("F1 fell by 0.375 > 0.250", "accuracy fell by 0.500 > 0.250")),
    ],
)
def test_reasons_name_what_fell_and_by_how_much(accuracy, f1, reasons):
    health = Health(window=1, min_updates=1)
    health.update(1.0, 0.5, after_heal=True)
    health.update(accuracy, f1, after_heal=True)

    assert health.check(f1_drop=0.25, accuracy_drop=0.25).reasons == reasons
