"""The lock files say what pyproject.toml says; `make lock` brings them together again."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pinned(file: str) -> dict[str, set[str]]:
    """The versions of each package in a lock file; two where Pythons differ."""
    versions: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / file).read_text(), re.M):
        versions.setdefault(name, set()).add(version)
    return versions


def wanted(*requirements: str) -> dict[str, set[str]]:
    parsed = [Requirement(line) for line in requirements]
    return {one.name.lower(): {str(one.specifier).removeprefix("==")} for one in parsed}


def test_the_lock_holds_every_dependency_at_its_version() -> None:
    declared = wanted(*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"])
    assert declared.items() <= pinned("requirements.txt").items()


def test_the_image_installs_the_same_versions_without_tools_and_cuda() -> None:
    declared = wanted(*PROJECT["dependencies"])
    del declared["torch"]  # from its own CPU index, by the version in pyproject.toml
    image, all_of_it = pinned("deploy/requirements.txt"), pinned("requirements.txt")
    assert declared.items() <= image.items() <= all_of_it.items()
    assert not [name for name in image if name.startswith(("torch", "nvidia", "cuda", "triton"))]
    assert "pytest" not in image


@pytest.mark.parametrize("file", ["requirements.txt", "deploy/requirements.txt"])
def test_every_pin_has_hashes_and_no_address(file: str) -> None:
    text = (ROOT / file).read_text()
    pins = re.findall(r"^[a-z0-9-]+==.*\n(.*)$", text, re.M)
    assert pins
    assert all(line.startswith("    --hash=sha256:") for line in pins)
    assert "://" not in text


def test_the_image_takes_torch_at_the_version_of_the_project() -> None:
    (expression,) = re.findall(r"sed -n '([^']*)'", (ROOT / "Dockerfile").read_text())
    # The same expression as in the Makefile, where make reads $$ as $.
    assert f"'{expression.replace('$/', '$$/')}'" in (ROOT / "Makefile").read_text()
    pattern = re.sub(r"\\([()])", r"\1", expression.split("/")[1])
    found = re.findall(pattern, (ROOT / "pyproject.toml").read_text(), re.M)
    assert found == [line for line in PROJECT["dependencies"] if line.startswith("torch==")]
