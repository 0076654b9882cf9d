"""What docker-compose.yml and deploy/ say is what the code understands; none of it is started here.

Source of data/compose-spec.schema.json: https://github.com/compose-spec/compose-spec (Apache-2.0),
as the package check-jsonschema 0.39.0 ships it.
"""

import importlib
import json
import re
import shlex
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
import yaml

from consumer import settings
from tests.broker.docker import IMAGE as BROKER_IMAGE

ROOT = Path(__file__).parents[1]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"] == "reflexive:local"]
LOGSTASH = (ROOT / "deploy/elk/logstash.conf").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def logstash(setting: str) -> list[str]:
    """The strings given to one setting of the pipeline."""
    found = re.findall(rf"^\s*{setting} => (.*)$", re.sub(r"#.*", "", LOGSTASH), re.MULTILINE)
    assert len(found) == 1, f"{setting} is given {len(found)} times"
    return re.findall(r'"([^"]*)"', found[0]) or [found[0].strip()]


def settings_of(service: str, monkeypatch: pytest.MonkeyPatch) -> settings.Settings:
    """The settings as that container reads them."""
    for name, value in SERVICES[service]["environment"].items():
        monkeypatch.setenv(name, str(value))
    return settings.load(ROOT / "deploy/reflexive.toml")


def listeners(which: str) -> dict[str, str]:
    """The broker's addresses by the name of the listener."""
    listed = SERVICES["kafka"]["environment"][which].split(",")
    return dict(listener.split("://") for listener in listed)


def commands() -> list[tuple[str, list[str]]]:
    """Every `python -m package arguments…` that the containers run."""
    image_entrypoint = json.loads(re.findall(r"^ENTRYPOINT (.*)$", DOCKERFILE, re.MULTILINE)[0])
    found = []
    for name in OURS:
        entrypoint = SERVICES[name].get("entrypoint", image_entrypoint)
        command = SERVICES[name]["command"]
        if entrypoint[0] == "sh":
            lines = command[0].replace("\\\n", " ").splitlines()
        else:
            lines = [shlex.join([*entrypoint, *command])]
        for line in lines:
            python, dash_m, package, *arguments = shlex.split(line)
            assert (python, dash_m) == ("python", "-m"), line
            found.append((package, arguments))
    return found


def test_it_is_a_compose_file() -> None:
    schema = json.loads((ROOT / "tests/data/compose-spec.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(COMPOSE)


def test_what_services_wait_for_is_there_and_can_become_true() -> None:
    for name, service in SERVICES.items():
        for other, wait in service.get("depends_on", {}).items():
            assert other in SERVICES, f"{name} waits for {other}"
            if wait["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other], f"{other} never becomes healthy"
            if wait["condition"] == "service_completed_successfully":
                assert "restart" not in SERVICES[other], f"{other} never completes"


def test_every_port_is_published_on_this_machine_only() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(published) == 3
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in published)


def test_every_mounted_file_and_volume_exists() -> None:
    volumes = set()
    for service in SERVICES.values():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).is_file(), source
            else:
                volumes.add(source)
    assert volumes == set(COMPOSE["volumes"])


def test_the_settings_file_lies_where_the_consumer_looks() -> None:
    workdir = re.findall(r"^WORKDIR (.*)$", DOCKERFILE, re.MULTILINE)[0]
    target = f"{workdir}/{settings.DEFAULT_FILE}"
    for name in OURS:
        assert f"./deploy/reflexive.toml:{target}:ro" in SERVICES[name]["volumes"]


@pytest.mark.parametrize("service", OURS)
def test_every_setting_is_known_and_the_broker_is_where_it_says(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = SERVICES[service]["environment"]
    assert all(name.startswith(settings.ENV_PREFIX) for name in environment)
    read = settings_of(service, monkeypatch)
    assert read.kafka.bootstrap_servers == listeners("KAFKA_ADVERTISED_LISTENERS")["INSIDE"]


def test_the_broker_listens_where_it_says_it_does() -> None:
    listening, advertised = listeners("KAFKA_LISTENERS"), listeners("KAFKA_ADVERTISED_LISTENERS")
    assert listening["INSIDE"] == ":19092"
    assert advertised["INSIDE"] == f"kafka{listening['INSIDE']}"
    host, port = advertised["OUTSIDE"].split(":")
    assert host == "localhost"
    assert SERVICES["kafka"]["ports"] == [f"127.0.0.1:{port}{listening['OUTSIDE']}"]
    assert advertised["OUTSIDE"] in SERVICES["kafka"]["healthcheck"]["test"]


def test_the_input_topics_are_made_by_the_names_the_consumer_reads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = settings_of("consumer", monkeypatch)
    (script,) = SERVICES["topics"]["command"]
    (made,) = re.findall(r"for topic in (.*); do", script)
    assert made.split() == [read.input.transactions.topic, read.input.labels.topic]
    assert f"--bootstrap-server {read.kafka.bootstrap_servers}" in script


def test_broker_and_tools_are_the_version_the_tests_run_against() -> None:
    pom = (ROOT / "tests/broker/pom.xml").read_text()
    (version,) = re.findall(r"<kafka\.version>(.*)</kafka\.version>", pom)
    assert f"apache/kafka:{version}" == BROKER_IMAGE
    assert SERVICES["kafka"]["image"] == SERVICES["topics"]["image"] == BROKER_IMAGE


def test_logstash_reads_our_events_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    read = settings_of("consumer", monkeypatch)
    assert logstash("bootstrap_servers") == [read.kafka.bootstrap_servers]
    assert logstash("topics") == [read.topic("events")]
    assert logstash("isolation_level") == ["read_committed"]


def test_logstash_writes_our_data_stream_once_per_event_id() -> None:
    event = json.loads((ROOT / "schemas/event.example.json").read_text())
    assert logstash("data_stream") == ["true"]
    assert logstash("data_stream_dataset") == [event["event"]["dataset"]]
    assert logstash("document_id") == ["%{[event][id]}"]
    assert event["event"]["id"]
    # A data stream takes new documents only; a conflict is the answer to one that came twice.
    assert logstash("action") == ["create"]
    (host,) = logstash("hosts")
    assert host == SERVICES["kibana"]["environment"]["ELASTICSEARCH_HOSTS"]
    port = host.rsplit(":", 1)[1]
    assert SERVICES["elasticsearch"]["ports"] == [f"127.0.0.1:{port}:{port}"]


def test_the_search_stack_is_one_version_and_started_only_when_asked_for() -> None:
    stack = {name: SERVICES[name] for name in ("elasticsearch", "logstash", "kibana")}
    versions = {service["image"].rsplit(":", 1)[1] for service in stack.values()}
    assert len(versions) == 1
    assert {n for n, service in SERVICES.items() if service.get("profiles") == ["elk"]} == set(
        stack
    )


@pytest.mark.parametrize(("package", "arguments"), commands())
def test_every_command_is_understood(package: str, arguments: list[str]) -> None:
    app = importlib.import_module(f"{package}.__main__").app
    name, *options = arguments
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    command.make_context(name, options)  # raises on an unknown option or value


def test_the_simulator_spreads_over_the_partitions_there_are() -> None:
    (script,) = SERVICES["topics"]["command"]
    (made,) = re.findall(r"--partitions (\d+)", script)
    command = SERVICES["simulator"]["command"]
    assert command[command.index("--partitions") + 1] == made


def test_the_model_that_is_trained_is_the_one_that_runs() -> None:
    options = {arguments[0]: arguments for _, arguments in commands() if "--out" in arguments}
    trained = options["train"][options["train"].index("--out") + 1]
    assert trained in SERVICES["consumer"]["command"]
    assert trained.startswith("/model/")
    assert "model:/model" in SERVICES["train"]["volumes"]


def test_the_image_copies_what_is_there_and_not_ignored() -> None:
    allowed = [
        line.removeprefix("!").rstrip("/")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    copied = [
        source
        for line in re.findall(r"^COPY (.*)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    ]
    assert copied
    for source in copied:
        assert (ROOT / source).exists(), source
        assert any(fnmatch(source, pattern) for pattern in allowed), source
