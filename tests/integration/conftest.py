"""What the integration tests share: a model, trained once for each file of tests."""

from pathlib import Path

import pytest

from consumer.model_directory import Model
from tests.integration import consuming


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For all tests of a file; the model's directory is `folder / "model"`."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    """A small model, trained in a second."""
    return consuming.model(folder / "model")
