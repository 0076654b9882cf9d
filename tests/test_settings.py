"""Settings: which source wins, and that whatever is wrong is named without telling secrets."""

import json
from pathlib import Path

import pytest

from consumer.errors import SettingsError
from consumer.settings import load, masked


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def given(monkeypatch):
    """Settings from the text of a file, variables without their prefix, and flags."""

    def read(text="", flags=None, **variables):
        file = Path("given.toml")
        file.write_text(text)
        for name, value in variables.items():
            monkeypatch.setenv(f"REFLEXIVE__{name}", value)
        return load(file, flags)

    return read


def test_without_anything_the_defaults_hold():
    found = load()

    assert (found.application_id, found.batch.rows, found.heal.mode) == (
        "reflexive",
        100,
        "threaded",
    )
    assert found.topic("scores") == "reflexive.scores"
    assert found.transactional_id == "reflexive-0"


def test_flags_win_over_the_environment_and_that_over_the_file(given):
    found = given(
        "[batch]\nrows = 2\nspan_s = 2\n[watch]\nfidi_z = 2\nconflicts = 2",
        {"batch.rows": 4, "batch.span_s": None, "watch.fidi_z": None},
        BATCH__ROWS="3",
        WATCH__FIDI_Z="3",
    )

    assert (found.batch.rows, found.watch.fidi_z) == (4, 3.0)
    assert (found.batch.span_s, found.watch.conflicts) == (2.0, 2)  # a flag of None is not given


def test_reflexive_toml_of_the_working_directory_is_the_default_file():
    Path("reflexive.toml").write_text("application_id = 'here'")
    Path("other.toml").write_text("instance_id = '7'")

    assert load().application_id == "here"
    assert load(Path("other.toml")).application_id == "reflexive"


def test_values_may_come_as_text(given):
    found = given(
        flags={"commit.interval_ms": "250"},
        DECISION__THRESHOLD="0.25",
        COST__FALSE_ALARM="[1, 2.5]",
    )

    assert (found.commit.interval_ms, found.decision.threshold) == (250, 0.25)
    assert found.cost.false_alarm == (1.0, 2.5)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("batch = 5", "batch: Input should be a valid dictionary"),
        ("[batch]\nrows = 'many'", "batch.rows: Input should be a valid integer"),
        ("[batch]\nrows = 1", "batch.rows: Input should be greater than or equal to 2 (got 1)"),
        ("[batch]\nrowz = 100", "batch.rowz: no such setting"),
        ("[bach]\nrows = 100", "bach: no such setting"),
        ("[heal]\nmode = 'later'", "heal.mode: Input should be 'threaded' or 'inline'"),
        ("application_id = 'a b'", "application_id: String should match pattern"),
        (
            "[decision]\nthreshold = 0.95",
            "decision: decline_threshold lies below threshold",
        ),
    ],
)
def test_what_is_wrong_in_the_file_is_named(given, text, named):
    with pytest.raises(SettingsError) as error:
        given(text)

    assert named in str(error.value)


def test_everything_that_is_wrong_is_named_at_once(given):
    with pytest.raises(SettingsError, match=r"batch\.rows.*watch\.fidi_z"):
        given("[batch]\nrows = 1\n[watch]\nfidi_z = 0")


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("BATCH__ROWS", "many", "batch.rows"),
        ("BATCH__ROWZ", "100", "batch.rowz"),
        ("BACH__ROWS", "100", "REFLEXIVE__BACH__ROWS: there is no setting 'bach'"),
        ("COST", "{", 'parsing value for field "cost"'),
    ],
)
def test_what_is_wrong_in_the_environment_is_named(given, variable, value, named):
    with pytest.raises(SettingsError) as error:
        given(**{variable: value})

    assert named in str(error.value)


@pytest.mark.parametrize("flag", ["batch.rowz", "bach.rows", "bach"])
def test_an_unknown_flag_is_named(given, flag):
    with pytest.raises(SettingsError, match=flag.split(".")[0]):
        given(flags={flag: 100})


def test_a_file_that_is_not_there_or_not_toml_is_named(given):
    with pytest.raises(SettingsError, match=r"nowhere\.toml: No such file"):
        load(Path("nowhere.toml"))
    with pytest.raises(SettingsError, match=r"given\.toml is not TOML"):
        given("rows 100")


def test_librdkafkas_own_names_hold_dots(given, monkeypatch):
    monkeypatch.setenv("REFLEXIVE__KAFKA__PROPERTIES", json.dumps({"ssl.ca.location": "/ca"}))
    found = given(
        '[kafka.properties]\n"security.protocol" = "SSL"\n"socket.keepalive.enable" = true',
        {"kafka.properties.sasl.username": "me", "kafka.properties.security.protocol": "SASL_SSL"},
    )

    assert found.kafka.properties == {
        "sasl.username": "me",
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": "/ca",
        "socket.keepalive.enable": True,
    }


@pytest.mark.parametrize("name", ["group.id", "isolation.level", "transactional.id", "partitioner"])
def test_what_the_promises_rest_on_is_not_passed_through(given, name):
    with pytest.raises(SettingsError, match=rf"kafka\.properties: {name} cannot be set"):
        given(flags={f"kafka.properties.{name}": "x"})


SECRETS = [
    "sasl.password",
    "ssl.key.password",
    "ssl.keystore.password",
    "ssl.key.pem",
    "sasl.oauthbearer.client.secret",
    "sasl.jaas.config",
    "SASL.PASSWORD",
]


@pytest.mark.parametrize("name", SECRETS)
def test_secrets_are_masked(given, name):
    found = given(
        flags={f"kafka.properties.{name}": "hunter2", "kafka.properties.sasl.username": "me"}
    )

    assert "hunter2" not in json.dumps(masked(found))
    assert masked(found)["kafka"]["properties"] == {name: "***", "sasl.username": "me"}
    assert found.kafka.properties[name] == "hunter2"


@pytest.mark.parametrize("name", SECRETS)
def test_secrets_are_masked_in_errors_as_well(given, name):
    with pytest.raises(SettingsError) as error:
        given(flags={f"kafka.properties.{name}": ["hunter2"]})

    assert name in str(error.value)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("flags", "until_end", "order"),
    [
        ({}, False, "arrival"),
        ({}, True, "event_time"),
        ({"heal.mode": "inline"}, False, "event_time"),
        ({"input.order": "arrival", "heal.mode": "inline"}, True, "arrival"),
        ({"input.order": "event_time"}, False, "event_time"),
    ],
)
def test_replays_are_ordered_by_event_time_unless_told_otherwise(given, flags, until_end, order):
    assert given(flags=flags).order(until_end=until_end) == order
