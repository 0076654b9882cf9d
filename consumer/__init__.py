"""A Kafka consumer whose fraud model heals itself when the data drifts."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("reflexive")
except PackageNotFoundError:  # run from a checkout that was never installed
    __version__ = "0.0.0"
