"""Every error a user can meet, in one small tree.

An error names what is wrong, where, and the way out; `python -m consumer` prints it as one line and
exits non-zero. Anything else that surfaces is a defect of ours.
"""


class ReflexiveError(Exception):
    """Base of the errors that are shown to a person as one line."""


class SettingsError(ReflexiveError):
    """A setting is unknown, of the wrong type, or out of range."""


class KafkaUnavailableError(ReflexiveError):
    """The broker cannot be reached, or a topic is missing or wrongly set up."""


class FloodError(ReflexiveError):
    """So many messages cannot be read that the circuit breaker has tripped."""


class AbortedError(KafkaUnavailableError):
    """What was not committed is gone; it can be read and done again with new clients."""


class RebalancedError(AbortedError):
    """The group is sharing its partitions out anew; we are still a member of it."""


class EvictedError(AbortedError):
    """The group gave us up, or takes another process for us."""


class FencedError(ReflexiveError):
    """Another process with the same transactional id has taken over."""


class ModelError(ReflexiveError):
    """A model directory is missing, incomplete, or not what its manifest says."""


class DataError(ReflexiveError):
    """Rows cannot be read, or lack what was asked of them."""


class RegistryError(ReflexiveError):
    """A snapshot does not match its hash, or belongs to another base model."""


class ThresholdError(ReflexiveError):
    """A threshold file is not readable, names an unknown threshold, or a value out of range."""


class CommandError(ReflexiveError):
    """A command is not readable, not signed as it must be, or names nothing that is there."""
