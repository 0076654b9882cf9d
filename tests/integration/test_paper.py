"""The published experiment, bit for bit, through our own commands and topics."""

from pathlib import Path

import pytest

from benchmarks import paper, runs
from tests.broker import Broker
from tests.conftest import Names


@pytest.mark.parametrize(
    ("drift_strength", "f1_drop", "judge", "figures"),
    [(2.2, 0.08, paper.published_run, 42), (3.5, 0.03, paper.rollback_run, 30)],
    ids=["published", "rollback"],
)
def test_every_published_figure_comes_out(  # type: ignore[no-untyped-def]
    broker: Broker, names: Names, tmp_path: Path, drift_strength, f1_drop, judge, figures
) -> None:
    run = runs.paper(
        broker.bootstrap,
        tmp_path / names.application_id,
        drift_strength=drift_strength,
        f1_drop=f1_drop,
    )
    found = list(judge(run))
    assert [figure for figure in found if not figure.same] == []
    assert len(found) == figures
