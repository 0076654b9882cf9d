"""Orders from people over the commands topic: followed once, by whoever heals, or refused aloud."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from consumer import standing
from consumer.audit import Wanted, audit
from consumer.errors import KafkaUnavailableError
from consumer.kafka import dead_letters
from consumer.settings import Settings
from tests.broker import Broker
from tests.conftest import CreateTopics, Names
from tests.integration import consuming
from tests.integration.test_process import start, wait_for

PATIENCE_S = 1_000.0  # of event time: ten thousand rows


def test_heals_wait_for_people_and_every_order_counts_once(
    broker: Broker, names: Names, create_topics: CreateTopics, tmp_path: Path
) -> None:
    create_topics(names.transactions, names.labels)
    settings = consuming.settings(broker.bootstrap, names, heal__policy="hedge")
    model = consuming.model(tmp_path / "model")
    table = consuming.rows(2_000, seed=5, shift=2.2)  # other rows than training's from the first on
    key = tmp_path / "key"
    key.write_text("a secret of the payments team\n")
    signing = ("--set", f"commands.key_file={key}")
    given = (
        *("--set", "heal.approval=required", "--set", f"heal.approval_timeout_s={PATIENCE_S}"),
        *("--set", "heal.approval_on_timeout=reject", "--inline", *signing),
    )

    def run() -> subprocess.Popen[str]:
        return start(settings, tmp_path / "model", *given)

    process = run()
    consuming.send(settings, table, range(300))
    wait_for(lambda: waiting(settings) != [], 120)
    (first,) = waiting(settings)
    # Three times the same answer, and the consumer is killed in between: two find nothing waiting.
    order(settings, "approve", first, *signing)
    process.kill()
    process.communicate(timeout=20)
    order(settings, "approve", first, *signing)
    process = run()
    order(settings, "approve", first, *signing)
    consuming.send(settings, table, range(300, 600))
    wait_for(lambda: waiting(settings) not in ([], [first]), 120)

    # Not ours to follow: no JSON, no order, not signed, signed with another key.
    other = tmp_path / "other"
    other.write_text("a secret of somebody else\n")
    consuming.send_raw(settings, settings.topic("commands"), [b"approve!", b'{"command": "stop"}'])
    (second,) = waiting(settings)
    order(settings, "approve", second)
    order(settings, "approve", second, "--set", f"commands.key_file={other}")
    wait_for(lambda: consuming.actions(settings).count("command-refused") == 2 + 4, 60)
    assert waiting(settings) == [second]
    order(settings, "reject", second, *signing)
    wait_for(lambda: "rejected" in consuming.actions(settings), 60)

    # Nobody answers to the third: the stream goes on for longer than they are waited for.
    consuming.send(settings, table, range(600, 900))
    wait_for(lambda: waiting(settings) != [], 120)
    (third,) = waiting(settings)
    consuming.send(settings, table, range(20_000, 20_200))
    wait_for(lambda: "approval-expired" in consuming.actions(settings), 60)

    # A pin holds, whatever comes.
    order(settings, "pin", *signing)
    wait_for(lambda: standing.read(settings)["pinned"], 60)
    pinned = standing.read(settings)["adapter_version"]
    moved = consuming.rows(1_000, seed=6)  # back to where training was
    consuming.send(settings, moved, range(20_200, 20_900))
    wait_for(lambda: len(consuming.records(settings, "scores")) == 1_800, 120)
    process.terminate()
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0, said

    ended = standing.read(settings)
    consuming.send(settings, moved, range(30_000, 30_003))
    later = standing.read(settings)
    assert later["committed_at"] == ended["committed_at"]
    for topic in (names.transactions, names.labels):
        assert later["waiting"][topic] == ended["waiting"][topic] + 3
    told = command(settings, "status").stdout
    assert f"last commit {ended['committed_at']}; to be read since: " in told

    events = consuming.messages(settings, "events")
    found = {a: of(events, a) for a in ("approved", "rejected", "approval-expired")}
    assert [e["approval_id"] for e in found["approved"]] == [first]
    assert [e["approval_id"] for e in found["rejected"]] == [second]
    assert found["approval-expired"][0]["approval_id"] == third
    deployed = of(events, "heal-deployed")
    assert [e["approval_id"] for e in deployed] == [first]
    assert len({e["event"]["id"] for e in events}) == len(events)
    scores = consuming.messages(settings, "scores")
    assert {s["adapter_version"] for s in scores[-600:]} == {pinned}
    assert of(events, "regime-changed")
    letters = [
        letter
        for record in consuming.records(settings, "dead-letters")
        if (letter := dead_letters.received(record)) is not None
    ]
    assert Counter(letter.kind for letter in letters) == {"CommandError": 4}
    reasons = " ".join(letter.reason for letter in letters)
    assert "not signed" in reasons
    assert "signature is not of the key" in reasons
    checked = audit(settings, model, Wanted())
    assert (checked.checked, checked.unexplained) == (1_800, [])


def test_a_wrong_order_is_one_line(
    broker: Broker, names: Names, create_topics: CreateTopics, tmp_path: Path
) -> None:
    settings = consuming.settings(broker.bootstrap, names)
    for arguments, expected in (
        (("approve", "heal-2", "--why", "good"), "nothing was consumed"),
        (("approve", "heal-2"), "Missing option '--why'"),
        (("rollback", "zero", "--why", "bad"), "valid integer"),
        (("status", "--json"), "nothing was consumed"),
        (("pause", "--why", "x", "--set", "commands.key_file=nowhere"), "nowhere"),
    ):
        ended = command(settings, *arguments)
        assert ended.returncode != 0, arguments
        assert expected in ended.stderr, (arguments, ended.stderr)
        assert "Traceback" not in ended.stderr


def waiting(settings: Settings) -> list[str]:
    """What waits for approval, by the command a person would use."""
    try:
        standing.read(settings)
    except KafkaUnavailableError:
        return []  # not begun yet
    told = json.loads(command(settings, "status", "--json").stdout)
    return [one["id"] for one in told["pending_approvals"]]


def order(settings: Settings, *arguments: str) -> None:
    ended = command(settings, *arguments, "--why", "as agreed", "--by", "ann")
    assert ended.returncode == 0, ended.stderr


def command(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "consumer", *arguments),
            *("--bootstrap-servers", settings.kafka.bootstrap_servers),
            *("--application-id", settings.application_id),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def of(events: list[dict[str, Any]], action: str) -> list[dict[str, Any]]:
    return [e["reflexive"] for e in events if e["event"]["action"] == action]
