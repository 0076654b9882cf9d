"""Where time goes: by stage, nothing counted twice, and nothing counted where nobody asks."""

import orjson

from consumer import profile
from consumer.profile import STAGES, Profile
from tests.streams import BATCH, DRIFT, labels_of, running, score, stream


class Clock:
    """Time as the test says it passes, in ns."""

    def __init__(self):
        self.now = 0

    def __call__(self):
        return self.now


def test_time_is_the_innermost_stages_and_adds_up():
    clock = Clock()
    taken = Profile(clock)
    taken.begin()
    clock.now = 1_000
    with taken("order"):
        clock.now = 3_000
        with taken("heal"), taken("wait"):
            clock.now = 10_000
        clock.now = 11_000
    found = {name: ns for name, ns in taken.ns().items() if ns}
    assert found == {"other": 1_000, "order": 3_000, "wait": 7_000}
    assert sum(found.values()) == clock.now


def test_time_before_the_first_records_is_not_counted():
    clock = Clock()
    taken = Profile(clock)
    with taken("wait"):  # the group shares out
        clock.now = 5_000
        taken.begin()
        clock.now = 6_000
    taken.begin()
    assert taken.ns()["wait"] == 1_000
    assert sum(taken.ns().values()) == 1_000


def test_an_error_leaves_its_stage():
    clock = Clock()
    taken = Profile(clock)
    taken.begin()
    try:
        with taken("commit"):
            clock.now = 1_000
            raise ValueError
    except ValueError:
        clock.now = 3_000
    assert taken.ns()["commit"] == 1_000
    assert taken.ns()["other"] == 2_000


def test_the_table_names_every_stage_and_its_share():
    clock = Clock()
    taken = Profile(clock)
    taken.begin()
    with taken("decode"):
        clock.now = 30_000
    with taken("join"):
        clock.now = 40_000
    taken.rows = 10
    lines = taken.table().splitlines()
    assert [line.split()[0] for line in lines[1:-2]] == list(STAGES)
    by_stage = {line.split()[0]: line.split()[1:] for line in lines[1:-1]}
    assert by_stage["decode"] == ["3.000", "75.0%"]
    assert by_stage["join"] == ["1.000", "25.0%"]
    assert by_stage["all"] == ["4.000", "100.0%"]
    assert lines[-1].startswith("10 rows in 0.0 s: 250,000 rows/s")


def test_how_long_it_took_ends_with_the_last_commit():
    clock = Clock()
    taken = Profile(clock)
    taken.begin()
    with taken("commit"):
        clock.now = 40_000
    taken.committed()
    with taken("wait"):
        clock.now = 90_000
    told = orjson.loads(taken.json())
    assert (told["committed_seconds"], told["seconds"]) == (40e-6, 90e-6)


def test_a_run_without_a_row_has_a_table():
    assert "0 rows" in Profile().table()
    assert orjson.loads(Profile().json())["rows"] == 0


def test_the_pipeline_says_which_stage_works():
    said = []

    def stage(name):
        said.append(name)
        return profile.off(name)

    with running(stage=stage) as pipeline:
        for batch in stream(3 * BATCH, drift=DRIFT).batches():
            score(pipeline, batch)
            labels_of(pipeline, batch)
    assert set(said) == {"score", "watch", "join", "heal"}
    assert said[:3] == ["score", "watch", "join"]
