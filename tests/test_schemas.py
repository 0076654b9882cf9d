"""Every schema is sound, and the example beside it conforms."""

import copy
import json

import pytest

from tests.schemas import FOLDER, conforms, schema

KINDS = sorted(file.name.removesuffix(".schema.json") for file in FOLDER.glob("*.schema.json"))
EXAMPLES = sorted(FOLDER.glob("*.example.json"))
OURS = ("score", "event", "labelled", "activation", "snapshot-manifest", "command")


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_is_sound_and_names_itself(kind: str) -> None:
    content = json.loads((FOLDER / f"{kind}.schema.json").read_text())
    assert content["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert content["$id"].endswith(f"/{kind}.schema.json")
    assert (FOLDER / f"{kind}.example.json").exists()


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_an_example_conforms(file) -> None:  # type: ignore[no-untyped-def]
    kind = file.name.removesuffix(".example.json")
    conforms("event" if kind.startswith("event-") else kind, json.loads(file.read_text()))


@pytest.mark.parametrize("kind", OURS)
def test_what_we_emit_has_no_room_for_more(kind: str) -> None:
    example = json.loads((FOLDER / f"{kind}.example.json").read_text())
    more = copy.deepcopy(example) | {"surprise": 1}
    assert not schema(kind).is_valid(more)
    for field in example:
        less = {name: value for name, value in example.items() if name != field}
        assert not schema(kind).is_valid(less), f"{field} may be missing"
