"""A report from topics: what is read, what is written, and what is said when there is nothing."""

import json

import orjson
import pytest
from confluent_kafka import Producer

from consumer import export
from consumer.errors import DataError, KafkaUnavailableError, ReflexiveError
from consumer.report import read, report
from consumer.settings import Settings
from tests.a_run import published

NAMES = ("scores", "labelled", "events", "registry")


@pytest.fixture(scope="module")
def mock():
    """A producer that carries a one-node cluster inside."""
    return Producer({"test.mock.num.brokers": 1, "log_level": 2})


@pytest.fixture
def settings(mock, request):
    (node,) = mock.list_topics(timeout=10).brokers.values()
    return Settings(
        file={},
        flags={
            "application_id": request.node.name[:100].replace("[", "-").replace("]", ""),
            "kafka": {"bootstrap_servers": f"{node.host}:{node.port}", "connect_timeout_s": 5},
        },
    )


def create(mock, settings):
    for name in NAMES:
        mock.list_topics(settings.topic(name), timeout=10)


def send(mock, settings, run):
    """Leave a run's messages as the consumer would; events in one partition, rows in several."""
    create(mock, settings)
    for row in run.labelled:
        key, partition = row["transaction_id"], row["offset"] % 4
        score = {name: row[name] for name in ("transaction_id", "score", "offset")}
        mock.produce(settings.topic("scores"), orjson.dumps(score), key, partition)
        mock.produce(settings.topic("labelled"), orjson.dumps(row), key, partition)
        mock.poll(0)
    for event in run.events:
        mock.produce(settings.topic("events"), orjson.dumps(event), "reflexive", 0)
    for manifest in run.manifests:
        mock.produce(
            settings.topic("registry"),
            b"safetensors",
            f"snapshot/{manifest['version']}",
            headers=[("manifest", orjson.dumps(manifest))],
        )
    mock.produce(settings.topic("registry"), b"{}", "active/transactions/0/0")
    mock.produce(settings.topic("registry"), None, "active/transactions/0/100")
    mock.flush()


def test_a_report_from_topics(mock, settings, tmp_path):
    # given a run on its topics and a model directory
    run = published()
    send(mock, settings, run)
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.toml").write_text("[training.test]\naccuracy = 0.929\n", encoding="utf-8")

    # when
    found = report(settings, tmp_path / "deep" / "out", model)

    # then
    assert (found.scored, found.labelled, found.batches) == (2500, 2500, 25)
    assert (found.heals, found.rollbacks) == (25, 0)
    assert all(file.exists() for file in found.files)
    table = export.read_metrics(found.folder / "metrics.csv")
    assert table.texts("labelled_rows") == ["100"] * 25
    events = json.loads((found.folder / "events.json").read_text(encoding="utf-8"))
    assert len(events) == 25
    thresholds = json.loads((found.folder / "threshold_config.json").read_text(encoding="utf-8"))
    assert thresholds["thresholds"]["watch.fidi_z"] == settings.watch.fidi_z
    assert str(found).startswith("2,500 rows scored, 2,500 labelled")
    assert str(found).endswith(f"12 files in {found.folder}")


def test_manifests_are_read_by_version_whatever_their_partition(mock, settings):
    run = published()
    send(mock, settings, run)

    assert [m["version"] for m in read(settings).snapshots] == list(range(1, 52))


def test_topics_that_do_not_exist_mean_nothing_scored(settings, tmp_path):
    with pytest.raises(ReflexiveError, match="nothing was consumed as") as caught:
        report(settings, tmp_path)

    assert "--application-id" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_empty_topics_mean_nothing_scored(mock, settings, tmp_path):
    create(mock, settings)

    with pytest.raises(ReflexiveError, match="nothing scored yet"):
        report(settings, tmp_path)


def test_a_record_that_is_not_ours_is_named(mock, settings):
    create(mock, settings)
    mock.produce(settings.topic("labelled"), b"not JSON", partition=1)
    mock.flush()

    with pytest.raises(DataError, match=r"labelled\[1\] offset 0 is not JSON"):
        read(settings)


def test_a_folder_that_cannot_be_written_is_named(mock, settings, tmp_path):
    send(mock, settings, published())
    (tmp_path / "file").write_text("in the way", encoding="utf-8")

    with pytest.raises(DataError, match="report folder"):
        report(settings, tmp_path / "file")


def test_without_a_broker_its_address_is_named(tmp_path):
    kafka = {"bootstrap_servers": "127.0.0.1:1", "connect_timeout_s": 0.5}

    with pytest.raises(KafkaUnavailableError, match=r"127\.0\.0\.1:1"):
        report(Settings(file={}, flags={"kafka": kafka}), tmp_path)
