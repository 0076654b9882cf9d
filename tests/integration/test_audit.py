"""Every published score can be made again, and one that cannot is named."""

import subprocess
import sys
from pathlib import Path

import orjson

from consumer.audit import TOLERANCE, Wanted, audit
from consumer.kafka.client import producer
from consumer.settings import Settings
from tests.broker import Broker
from tests.conftest import CreateTopics, Names
from tests.integration import consuming


def publish(settings: Settings, score: dict[str, object]) -> None:
    """As nobody but the consumer should."""
    out = producer(settings.kafka)
    key = str(score["transaction_id"])
    out.produce(settings.topic("scores"), orjson.dumps(score), key=key, partition=0)
    assert out.flush(20) == 0


def test_every_score_is_explained_and_a_false_one_named(
    broker: Broker, names: Names, create_topics: CreateTopics, tmp_path: Path
) -> None:
    create_topics(names.transactions, names.labels)
    settings = consuming.settings(
        broker.bootstrap, names, heal__mode="inline", heal__policy="hedge"
    )
    model = consuming.model(tmp_path / "model")
    table = consuming.rows(2_000, seed=13, shift=2.2)
    consuming.send(settings, table, range(1_200))
    consuming.send_raw(settings, names.transactions, [b"not json"])
    consuming.consume(settings, model)

    found = audit(settings, model, Wanted())
    assert found.unexplained == []
    assert found.checked == 1_200
    assert found.largest_difference <= TOLERANCE
    versions = {score["adapter_version"] for score in consuming.messages(settings, "scores")}
    assert len(versions) > 5

    one = consuming.messages(settings, "scores")[700]
    start = one["event_time"]
    assert audit(settings, model, Wanted(from_ms=start)).checked == 500
    assert audit(settings, model, Wanted(to_ms=start)).checked == 700
    assert audit(settings, model, Wanted(transaction_id=one["transaction_id"])).checked == 1

    consuming.send(settings, table, [1_200, 1_201, 1_202])
    publish(settings, one)
    last = consuming.messages(settings, "scores")[1_199]
    last |= {"transaction_id": "t-001200", "offset": 1_201}
    publish(settings, last)  # the score of another transaction
    publish(settings, {**last, "offset": 1_202, "adapter_version": 9_999})
    publish(settings, {**last, "offset": 5_000})
    found = audit(settings, model, Wanted())
    assert found.checked == 1_201
    problems = [
        *("a second score", "adapter v9999", "published 0.", "no readable transaction"),
    ]
    assert len(found.unexplained) == len(problems)
    for said, problem in zip(found.unexplained, problems, strict=True):
        assert problem in said


def test_the_command_says_what_it_found_by_its_status(
    broker: Broker, names: Names, create_topics: CreateTopics, tmp_path: Path
) -> None:
    create_topics(names.transactions, names.labels)
    settings = consuming.settings(broker.bootstrap, names)
    consuming.send(settings, consuming.rows(10, seed=14), range(10))
    consuming.consume(settings, consuming.model(tmp_path / "model"))

    def run(*more: str) -> tuple[int, str]:
        ended = subprocess.run(
            [
                *(sys.executable, "-m", "consumer", "audit", "--model", str(tmp_path / "model")),
                *("--bootstrap-servers", broker.bootstrap),
                *("--application-id", names.application_id),
                *("--transactions-topic", names.transactions, *more),
            ],
            capture_output=True,
            text=True,
            timeout=60,
        )
        return ended.returncode, ended.stdout or ended.stderr

    status, said = run()
    assert status == 0
    assert said.startswith("10 scores checked")
    assert run("--id", "t-000003")[0] == 0
    status, said = run("--id", "t-3")
    assert status == 1
    assert f"no score of transaction 't-3' on {settings.topic('scores')}" in said
    for period in (("--from", "2030-01-01"), ("--to", "2020-01-01")):
        status, said = run(*period)
        assert (status, said.count("\n")) == (1, 1)
        assert "no score on " in said
        assert said.endswith(" in that period\n")
    assert "is not before" in run("--from", "2026-01-03", "--to", "2026-01-02")[1]
    consuming.model(tmp_path / "other", seed=7)
    status, said = run("--model", str(tmp_path / "other"))
    passed_over, error = said.splitlines()
    assert status == 1
    assert "registry snapshots of another base model passed over" in passed_over
    assert "every score is of model_version " in error
    status, said = run("--transactions-topic", names.labels)
    assert (status, said.count("\n")) == (1, 1)
    assert f"every score is of topic {names.transactions}, not {names.labels}" in said
    publish(settings, consuming.messages(settings, "scores")[0])
    status, said = run()
    assert status == 1
    assert "unexplained: t-000000" in said


def test_what_is_older_than_the_horizon_is_expired_and_no_error(
    broker: Broker, names: Names, create_topics: CreateTopics, tmp_path: Path
) -> None:
    create_topics(names.transactions, names.labels)
    settings = consuming.settings(
        broker.bootstrap, names, heal__mode="inline", audit__horizon_days=1e-6
    )
    model = consuming.model(tmp_path / "model")
    table = consuming.rows(2_000, seed=13, shift=2.2)
    consuming.send(settings, table, range(800))
    consuming.consume(settings, model)
    before = audit(settings, model, Wanted())
    assert (before.checked, before.expired, before.unexplained) == (800, 0, [])

    consuming.send(settings, table, range(800, 900))
    consuming.consume(settings, model)  # begins by forgetting, and goes on as if nothing were

    after = audit(settings, model, Wanted())
    assert after.unexplained == []
    assert after.expired > 0
    assert after.checked >= 100
    assert after.checked + after.expired == 900
    tombstones = [r for r in consuming.records(settings, "registry") if r.value is None]
    assert len(tombstones) > 3
    consuming.send(settings, table, range(900, 1_000))
    consuming.consume(settings, model)
    again = audit(settings, model, Wanted())
    assert (again.checked + again.expired, again.unexplained) == (1_000, [])
