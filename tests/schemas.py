"""The schemas of `schemas/`, ready to validate with."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

FOLDER = Path(__file__).parent.parent / "schemas"


@cache
def schema(kind: str) -> Draft202012Validator:
    """The validator of one kind of message, such as `score`."""
    content = json.loads((FOLDER / f"{kind}.schema.json").read_text())
    Draft202012Validator.check_schema(content)
    return Draft202012Validator(content, format_checker=FormatChecker())


def conforms(kind: str, message: Any) -> None:
    """Fail, naming the place, where a message does not conform."""
    problems = [f"{e.json_path}: {e.message}" for e in schema(kind).iter_errors(message)]
    assert not problems, (kind, problems[:5], message)
