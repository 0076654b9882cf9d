"""The registry as a person sees it: listed, shown, compared, exported; what is wrong is named."""

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch

from consumer import restore, states
from consumer.kafka.client import producer
from consumer.model_directory import Model
from consumer.settings import Settings
from tests.broker import Broker
from tests.conftest import CreateTopics, Names
from tests.integration import consuming
from tests.integration.commands import refused, run
from tests.schemas import conforms


@pytest.fixture
def healed(
    broker: Broker, names: Names, create_topics: CreateTopics, tmp_path: Path
) -> tuple[Settings, Model]:
    """A registry with a few heals."""
    create_topics(names.transactions, names.labels)
    settings = consuming.settings(broker.bootstrap, names, heal__mode="inline")
    model = consuming.model(tmp_path / "model")
    consuming.send(settings, consuming.rows(600, seed=13, shift=2.2), range(600))
    consuming.consume(settings, model)
    return settings, model


def flags(settings: Settings) -> list[str]:
    return [
        *("--bootstrap-servers", settings.kafka.bootstrap_servers),
        *("--application-id", settings.application_id),
    ]


def listed(settings: Settings) -> dict[int, dict[str, Any]]:
    ended = run("registry", "list", "--json", *flags(settings))
    assert ended.status == 0
    found = [json.loads(line) for line in ended.out]
    return {one["version"]: one for one in found}


def publish(settings: Settings, key: str, value: bytes, manifest: object = None) -> None:
    """As nobody but the consumer should."""
    out = producer(settings.kafka)
    headers = [] if manifest is None else [("manifest", json.dumps(manifest).encode())]
    out.produce(settings.topic("registry"), value, key=key, headers=headers)
    assert out.flush(20) == 0


def test_each_snapshot_is_a_line_with_where_it_was_active(healed: tuple[Settings, Model]) -> None:
    settings, model = healed
    topic = settings.input.transactions.topic
    snapshots = restore.snapshots(settings, model)
    _, deployed = restore.from_topic(settings, model)
    assert deployed is not None
    assert len(snapshots) > 5

    found = listed(settings)
    assert sorted(found) == sorted(snapshots)
    for version, one in found.items():
        ours = {"deployed", "active", "problem"}
        manifest = {name: value for name, value in one.items() if name not in ours}
        conforms("snapshot-manifest", manifest)
        assert manifest == dict(snapshots[version].manifest)
        assert one["deployed"] == (version == deployed.version)
        assert one["problem"] is None

    # Every score was made by the one version that is said to be active at its offset.
    scores = consuming.messages(settings, "scores")
    assert len({score["adapter_version"] for score in scores}) > 2
    for score in scores:
        active = [
            version
            for version, one in found.items()
            for span in one["active"]
            if (span["topic"], span["partition"]) == (topic, 0)
            and span["start"] <= score["offset"]
            and (span["stop"] is None or score["offset"] < span["stop"])
        ]
        assert active == [score["adapter_version"]]

    ended = run("registry", "list", *flags(settings))
    assert (ended.status, ended.error) == (0, [])
    assert ended.out[0].startswith("v1 | base | no parent | the model as trained | sha256 ")
    (last,) = [line for line in ended.out if line.endswith(" | deployed")]
    assert last.startswith(f"v{deployed.version} | post-heal | parent v{deployed.version - 1} | ")
    assert f"{topic}[0] offset {deployed.snapshot.manifest['offset']}" in last
    assert "in-sample rows 100 accuracy" in last
    assert "2026-01-01T00:0" in last
    assert str(deployed.snapshot.manifest["sha256"])[:12] in last


def test_a_snapshot_is_shown_compared_and_exported(
    healed: tuple[Settings, Model], tmp_path: Path
) -> None:
    settings, model = healed
    snapshots = restore.snapshots(settings, model)
    base, before, after = snapshots[1], snapshots[2], snapshots[3]
    assert (before.kind, after.kind) == ("pre-heal", "post-heal")

    shown = json.loads("".join(run("registry", "show", "3", "--json", *flags(settings)).out))
    assert shown["reason"] == after.manifest["reason"]
    assert [tensor["name"] for tensor in shown["tensors"]] == sorted(after.adapter)
    for tensor in shown["tensors"]:
        now = after.adapter[tensor["name"]].double()
        assert tensor["shape"] == list(now.shape)
        assert tensor["norm"] == pytest.approx(float(now.norm()))
        for name, other in (("from_parent", before), ("from_base", base)):
            distance = float((now - other.adapter[tensor["name"]].double()).norm())
            assert tensor[name] == pytest.approx(distance)
            assert distance > 0
    text = run("registry", "show", "3", *flags(settings)).out
    assert "hash check    sha256 is what the manifest says" in text

    changes = json.loads("".join(run("registry", "diff", "1", "3", "--json", *flags(settings)).out))
    assert changes["manifest"]["kind"] == ["base", "post-heal"]
    assert "base_sha256" not in changes["manifest"]
    for tensor in changes["tensors"]:
        first = base.adapter[tensor["name"]].double()
        difference = after.adapter[tensor["name"]].double() - first
        assert tensor["norm"] == pytest.approx(float(difference.norm()))
        assert tensor["largest"] == pytest.approx(float(difference.abs().max()))
        if float(first.norm()):
            assert tensor["relative"] == pytest.approx(float(difference.norm() / first.norm()))
        else:
            assert tensor["relative"] is None
    text = run("registry", "diff", "1", "3", *flags(settings)).out
    assert any(line.split() == ["kind", "base", "->", "post-heal"] for line in text)

    out = tmp_path / "v3.safetensors"
    assert run("registry", "export", "3", "--out", str(out), *flags(settings)).status == 0
    assert out.read_bytes() == after.value
    assert sorted(safetensors.torch.load_file(out)) == sorted(after.adapter)
    manifest = json.loads((tmp_path / "v3.safetensors.json").read_text())
    assert manifest == dict(after.manifest)
    again = ["registry", "export", "2", "--out", str(out), *flags(settings)]
    assert "--force" in refused(*again)
    assert out.read_bytes() == after.value
    assert run(*again, "--force").status == 0
    assert out.read_bytes() == before.value
    folder = ["registry", "export", "2", "--out", ".", *flags(settings)]
    assert ". is there already" in refused(*folder)
    assert "Is a directory" in refused(*folder, "--force")


def test_what_is_corrupt_or_foreign_is_named_and_the_rest_is_listed(
    healed: tuple[Settings, Model], tmp_path: Path
) -> None:
    settings, model = healed
    snapshots = restore.snapshots(settings, model)
    good = snapshots[3]
    manifest = dict(good.manifest)
    flipped = bytes([good.value[0] ^ 1]) + good.value[1:]
    publish(settings, "snapshot/900", flipped, {**manifest, "version": 900})
    publish(settings, "snapshot/901", good.value, {**manifest, "version": 901, "base_sha256": "x"})
    publish(settings, "snapshot/902", good.value)
    publish(settings, "snapshot/903", good.value, ["no", "manifest"])
    publish(settings, "snapshot/904", good.value, manifest)
    no_tensors = {**manifest, "version": 905, "sha256": states.sha256(b"junk")}
    publish(settings, "snapshot/905", b"junk", no_tensors)
    publish(settings, "snapshot/latest", good.value, manifest)
    publish(settings, "active/nowhere", b"{}")
    publish(settings, "a note", b"hello")
    publish(settings, "snapshot/3", flipped, manifest)  # the good one before it stands

    ended = run("registry", "list", *flags(settings))
    assert ended.status == 0
    assert len(ended.out) == len(snapshots) + 4  # 900, 901, 904 and 905
    expected = [
        "registry record snapshot/900: sha256 is",
        "registry record snapshot/902 has no manifest",
        "registry record snapshot/903: manifest is not a JSON object",
        "registry record snapshot/904: its manifest says version 3",
        "registry record snapshot/905: not safetensors",
        "registry record snapshot/latest: its key names no version",
        "registry record active/nowhere: expected active/TOPIC/PARTITION/OFFSET",
        "key 'a note' is none of ours",
        "registry record snapshot/3: sha256 is",
        "snapshot v901 belongs to another base model (x)",
    ]
    assert len(ended.error) == len(expected)
    for line, said in zip(ended.error, expected, strict=True):
        assert line.startswith("warning: ")
        assert said in line
    found = listed(settings)
    assert [v for v, one in found.items() if one["problem"]] == [900, 904, 905]

    out = str(tmp_path / "refused.safetensors")
    said = refused("registry", "export", "900", "--out", out, *flags(settings))
    assert "snapshot/900: sha256 is" in said
    assert not Path(out).exists()
    assert "sha256 is" in refused("registry", "diff", "3", "900", *flags(settings))
    shown = run("registry", "show", "900", *flags(settings))
    assert shown.status == 0
    assert any(line.startswith("hash check") and "refused" in line for line in shown.out)
    assert "no snapshot v77 in topic" in refused("registry", "show", "77", *flags(settings))


def test_without_a_topic_or_a_broker_it_is_one_line(broker: Broker, names: Names) -> None:
    where = ["--application-id", names.application_id, "--bootstrap-servers"]
    said = refused("registry", "list", *where, broker.bootstrap)
    assert f"topic '{names.application_id}.registry' does not exist" in said
    assert "Start `python -m consumer run`" in said
    patience = ["--set", "kafka.connect_timeout_s=1"]
    said = refused("registry", "show", "1", *where, "127.0.0.1:1", *patience)
    assert "no Kafka broker answers at 127.0.0.1:1" in said
    ended = run("registry", "show", "newest")
    assert (ended.status, len(ended.error)) == (2, 1)
