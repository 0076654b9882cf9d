"""The audit report of a real run: all of it is there, and nothing in it loads or runs anything."""

import xml.etree.ElementTree as ET
from pathlib import Path

import orjson

from consumer import chain
from consumer.kafka.client import producer
from consumer.settings import Settings
from tests.broker import Broker
from tests.conftest import CreateTopics, Names
from tests.integration import commands, consuming

HOSTILE = '</p><script>alert("1")</script><img src="https://evil.example/x"/>\u202e\u0000 & $\\frac'
SVG = "{http://www.w3.org/2000/svg}svg"


def report(settings: Settings, file: Path, *more: str) -> tuple[int, list[str], ET.Element]:
    """Status, what was printed, and the page, which must be well-formed."""
    ended = commands.run(
        *("audit", "--report", str(file), *more),
        *("--bootstrap-servers", settings.kafka.bootstrap_servers),
        *("--application-id", settings.application_id),
        *("--transactions-topic", settings.input.transactions.topic),
    )
    assert file.exists(), ended.error
    return ended.status, ended.out, ET.fromstring(file.read_text())


def text(element: ET.Element) -> str:
    return "".join(element.itertext())


def assert_inert(page: ET.Element) -> None:
    """Nothing runs, and nothing outside the page is asked for."""
    for element in page.iter():
        name = element.tag.rpartition("}")[2]
        assert name not in {"script", "img", "link", "iframe", "object", "foreignObject", "base"}
        for attribute, value in element.items():
            assert not attribute.lower().startswith("on")
            if attribute.rpartition("}")[2] in ("href", "src"):
                assert value.startswith("#")


def test_every_decision_of_a_run_is_told_with_its_evidence(
    broker: Broker, names: Names, create_topics: CreateTopics, tmp_path: Path
) -> None:
    create_topics(names.transactions, names.labels)
    thresholds = tmp_path / "thresholds.json"
    thresholds.write_text('{"format": 1, "thresholds": {"watch.fidi_z": 0.9}}')
    settings = consuming.settings(
        broker.bootstrap,
        names,
        heal__mode="inline",
        heal__policy="hedge",
        prequential__window_rows=100,
        decision__threshold_config=str(thresholds),
    )
    consuming.send(settings, consuming.drifting(1_500, seed=21), range(1_500))
    consuming.consume(settings, consuming.model(tmp_path / "model"))
    events = consuming.messages(settings, "events")
    decisions = [event for event in events if chain.is_decision(event)]
    gates = [gate for event in decisions for gate in event["reflexive"].get("gate", [])]
    assert gates
    assert {"thresholds-changed", "regime-changed", "heal-deployed"} <= {
        event["event"]["action"] for event in decisions
    }

    status, said, page = report(settings, tmp_path / "all.html")

    assert (status, said[0]) == (0, f"{len(decisions)} decisions in {tmp_path / 'all.html'}")
    assert_inert(page)
    assert len(list(page.iter(SVG))) == 1
    (drawn,) = page.iter(SVG)
    for label in ("log loss", "healed model", "frozen model", "weight", "frozen"):
        assert label in text(drawn)
    assert ": whole" not in text(page)
    assert "whole: " in text(page)
    articles = list(page.iter("article"))
    assert len(articles) == len(decisions)
    for article, event in zip(articles, decisions, strict=True):
        told = text(article)
        assert event["message"] in told
        assert event["event"]["id"] in told
        assert f"decision {event['reflexive']['sequence']} ·" in told
        for gate in event["reflexive"].get("gate", []):
            assert gate["reason"] in told
            assert f"{gate['gain']:.6g}" in told
        for expert in event["reflexive"].get("weights", {}):
            assert expert in told

    # A period: from the tenth decision of the stream on, up to the twentieth.
    times = sorted(event["@timestamp"] for event in decisions)
    start, end = times[9], times[19]
    status, _, page = report(settings, tmp_path / "some.html", "--from", start, "--to", end)
    expected = [event for event in decisions if start <= event["@timestamp"] < end]
    assert status == 0
    assert len(list(page.iter("article"))) == len(expected) < len(decisions)

    # Whatever lies on the topic is text in the page.
    forged = next(event for event in decisions if "gate" in event["reflexive"])
    forged["event"]["id"] = HOSTILE
    forged["message"] = HOSTILE
    forged["reflexive"] |= {"reason": HOSTILE, "topic": HOSTILE, "state": HOSTILE, HOSTILE: 1}
    forged["reflexive"]["gate"][0] |= {"expert": HOSTILE, HOSTILE: [HOSTILE]}
    forged["reflexive"]["weights"] = {HOSTILE: "1"}
    figures = next(event for event in events if event["event"]["action"] == "prequential")
    figures["event"]["id"] = "forged"
    figures["reflexive"] |= {"healed": HOSTILE, "frozen": {"log_loss": HOSTILE}}
    out = producer(settings.kafka)
    for event in (forged, figures):
        out.produce(
            settings.topic("events"), orjson.dumps(event), key=settings.application_id, partition=0
        )
    registry = [record for record in consuming.records(settings, "registry") if record.key]
    active = next(record for record in registry if record.key.startswith(b"active/"))
    value = orjson.loads(active.value or b"") | {"weights": {HOSTILE: 1.0}, "version": HOSTILE}
    out.produce(settings.topic("registry"), orjson.dumps(value), key=active.key, partition=0)
    assert out.flush(20) == 0

    status, said, page = report(settings, tmp_path / "hostile.html")
    assert status == 1  # it stands there with a number of another
    assert "has the same number" in text(page)
    assert len(list(page.iter("article"))) == len(decisions) + 1
    assert_inert(page)
    assert 'alert("1")' in text(page)
    assert "\u202e" not in text(page)


def test_a_wrong_order_gets_one_line(broker: Broker, tmp_path: Path) -> None:
    servers = ("--bootstrap-servers", broker.bootstrap, "--application-id", "nobody")
    out = str(tmp_path / "out.html")

    assert "nobody" in commands.refused("audit", "--report", out, *servers)
    assert "2026-13" in commands.refused("audit", "--report", out, "--from", "2026-13", *servers)
    span = ("--from", "2026-02-01", "--to", "2026-01-01")
    assert "before" in commands.refused("audit", "--report", out, *span, *servers)
    assert "--id" in commands.refused("audit", "--events", "--id", "t-1", *servers)
