"""The sections of the settings tree: each setting with its unit, its default and what it does."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

TimeFormat = Literal["auto", "epoch_ms", "epoch_s", "iso8601"]
Order = Literal["arrival", "event_time"]
HealMode = Literal["threaded", "inline"]
HealPolicy = Literal["hedge", "paper", "frozen", "always_heal", "periodic_reset"]
Approval = Literal["auto", "required"]
Answer = Literal["approve", "reject"]


class Section(BaseModel):
    """A group of settings; unknown keys are errors, so that a typo cannot pass for a default."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


# Settings of librdkafka that exactly-once, or where a key lands, rests on.
OURS = frozenset(
    {
        "auto.offset.reset",
        "bootstrap.servers",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.idempotence",
        "enable.partition.eof",
        "group.id",
        "group.instance.id",
        "isolation.level",
        "partition.assignment.strategy",
        "partitioner",
        "transactional.id",
    }
)


class Kafka(Section):
    """How every client of ours connects."""

    bootstrap_servers: str = Field(
        "localhost:9092", min_length=1, description="Brokers, as host:port,host:port."
    )
    properties: dict[str, str | int | float | bool] = Field(
        default_factory=dict,
        description="Raw librdkafka settings for every client, such as security.protocol, "
        "ssl.ca.location, sasl.username: passed through as they are.",
    )

    @field_validator("properties")
    @classmethod
    def _ours_are_not_among_them(cls, given: dict[str, Any]) -> dict[str, Any]:
        if wrong := sorted(OURS.intersection(given)):
            raise ValueError(
                f"{', '.join(wrong)} cannot be set: what is promised rests on it. The group is "
                "named by application_id, its members by instance_id"
            )
        return given

    connect_timeout_s: float = Field(
        8.0, gt=0, description="Seconds to wait for a broker at start before giving up."
    )


class TransactionInput(Section):
    """Where the transactions are and how another team's JSON maps onto ours."""

    topic: str = Field("transactions", description="Topic of transactions; never created by us.")
    id_path: str = Field("transaction_id", description="Dotted path to the transaction's id.")
    time_path: str = Field("event_time", description="Dotted path to the time of the event.")
    time_format: TimeFormat = Field(
        "auto",
        description="auto: whole numbers are epoch milliseconds, strings ISO 8601; "
        "epoch_s: seconds, fractions allowed.",
    )
    features_path: str = Field(
        "features", description="Dotted path to the object of features by name; '' is the root."
    )
    feature_paths: dict[str, str] = Field(
        default_factory=dict,
        description="Dotted path from the root, for each feature that is not under features_path.",
    )


class LabelInput(Section):
    """Where the labels are and how another team's JSON maps onto ours."""

    topic: str = Field("labels", description="Topic of labels; never created by us.")
    id_path: str = Field("transaction_id", description="Dotted path to the transaction's id.")
    label_path: str = Field("is_fraud", description="Dotted path to the label: 0, 1 or a boolean.")
    time_path: str = Field("labelled_at", description="Dotted path to the time of labelling.")
    time_format: TimeFormat = Field("auto", description="As for transactions.")
    source_path: str = Field(
        "source", description="Dotted path to who labelled; may be absent from a message."
    )
    precedence: list[str] = Field(
        default_factory=list,
        description="Sources, the one whose word counts most first; those not named count least. "
        "Of two who disagree and count alike the later label stands.",
    )
    selected: bool = Field(
        False,
        description="Only chosen transactions are labelled (those flagged, or reviewed): metrics "
        "are said to be conditional as soon as a label comes without its propensity.",
    )
    propensity_path: str = Field(
        "propensity",
        description="Dotted path to the probability, .000001 to 1, with which the transaction was "
        "chosen to be labelled; may be absent. The label stands for 1 / propensity rows.",
    )


class Input(Section):
    """The two input topics."""

    transactions: TransactionInput = TransactionInput()
    labels: LabelInput = LabelInput()
    max_message_bytes: int = Field(
        262_144,
        gt=0,
        description="Bytes; a longer message becomes a dead letter (its hash and length are kept).",
    )

    @model_validator(mode="after")
    def _apart(self) -> Input:
        if self.transactions.topic == self.labels.topic:
            raise ValueError("transactions.topic and labels.topic are the same topic")
        return self

    order: Order | None = Field(
        None,
        description="arrival: transactions are scored when they come. event_time: the earliest "
        "head first, for replays. Default: event_time with --until-end or inline healing.",
    )


class DeadLetters(Section):
    """When unreadable messages are too many to go on, in one partition of an input topic."""

    max_run: int = Field(
        100, ge=0, description="Stop at so many unreadable messages in a row (0: never)."
    )
    max_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Stop when more than this share of the last 1,000 messages is unreadable "
        "(1: never).",
    )


class Batch(Section):
    """Monitor batches: consecutive records of a partition, ended by the data alone."""

    rows: int = Field(100, ge=2, description="A monitor batch has at least so many records.")
    span_s: float = Field(
        1.0,
        ge=0,
        le=86_400,
        description="And spans at least so many seconds of event time (0: rows alone).",
    )


class Join(Section):
    """Scored transactions waiting for their labels."""

    max_rows: int = Field(
        1_000_000,
        ge=1,
        description="Rows held a partition; where the horizon brings more, a uniform sample of "
        "them by id.",
    )
    horizon_days: float = Field(
        90.0,
        gt=0,
        le=3650,
        description="Days of event time after a transaction during which its label is joined.",
    )
    cache_dir: Path | None = Field(
        None,
        description="Folder for a copy of the rows held: a restart reads it instead of the whole "
        "changelog. It may be lost at any time.",
    )


class Watch(Section):
    """When an alarm is raised."""

    fidi_z: float = Field(
        1.0, gt=0, description="Alarm when a feature's mean has moved by so many training sigmas."
    )
    fidi_window: int = Field(
        10, ge=1, description="Batch means that the moving mean is taken over."
    )
    fidi_warmup: int = Field(3, ge=1, description="Batches before the first z is given.")

    @model_validator(mode="after")
    def _warm(self) -> Watch:
        if self.fidi_warmup > self.fidi_window:
            raise ValueError("fidi_warmup is longer than fidi_window: no z would ever be given")
        return self

    conflict_probability: float = Field(
        0.30, ge=0, le=1, description="A rule says fraud and the model says less: a conflict."
    )
    conflicts: int = Field(
        5, ge=1, description="Conflicts in `batch.rows` rows of a batch that raise the alarm alone."
    )


class Heal(Section):
    """What heals, and how a heal runs."""

    policy: HealPolicy = Field(
        "hedge",
        description="hedge: experts weighed by their log loss on labels, the frozen model always "
        "among them; paper: as published. Baselines: frozen heals nothing, always_heal every "
        "labelled batch, periodic_reset the same with a reset every 10.",
    )

    mode: HealMode = Field(
        "threaded", description="threaded: scoring goes on; inline: deterministic replay."
    )
    max_per_hour: int = Field(
        240, ge=1, description="Heals of policy hedge in an hour of event time; more have to wait."
    )
    approval: Approval = Field(
        "auto",
        description="required: what policy hedge has admitted, or would do without labels, counts "
        "only when a person says so (`approve ID`, `reject ID`).",
    )
    approval_timeout_s: float = Field(
        86_400.0, gt=0, description="Seconds of event time that it waits for the answer."
    )
    approval_on_timeout: Answer = Field("reject", description="The answer where none came.")
    steps: int = Field(5, ge=1, description="Adam steps a heal of policy paper.")
    learning_rate: float = Field(0.003, gt=0, description="Its learning rate.")

    @model_validator(mode="after")
    def _can_wait(self) -> Heal:
        if self.approval == "required" and self.policy not in ("hedge", "frozen"):
            raise ValueError(
                f"approval = required needs policy hedge; {self.policy} deploys by itself"
            )
        return self


class Commands(Section):
    """Orders from people, over the commands topic."""

    key_file: Path | None = Field(
        None,
        description="File with a secret that orders have to be signed with; without one whoever "
        "may write to the commands topic may give orders.",
    )


class Health(Section):
    """When a heal is rolled back."""

    window: int = Field(5, ge=1, description="Labelled batches in the moving means.")
    min_updates: int = Field(3, ge=1, description="Labelled batches before the first check.")
    f1_drop: float = Field(0.08, ge=0, le=1, description="Roll back when F1 fell by more.")
    accuracy_drop: float = Field(0.10, ge=0, le=1, description="Roll back when accuracy did.")


class Decision(Section):
    """From score to decision: approve < threshold <= review < decline_threshold <= decline."""

    threshold: float = Field(0.5, ge=0, le=1, description="Scores at or above are flagged.")
    decline_threshold: float = Field(
        0.9, ge=0, le=1, description="Scores at or above are declined without review."
    )
    threshold_config: Path | None = Field(
        None,
        description="threshold_config.json as `report` writes it: applied at start and on SIGHUP.",
    )
    from_costs: bool = Field(
        False,
        description="Begin with the two thresholds that are cheapest by [cost], taking scores for "
        "probabilities, instead of those above; with cost.amount_feature every transaction has "
        "its own.",
    )
    controller: bool = Field(
        False,
        description="Move threshold where labelled rows say that another one is cheaper by [cost], "
        "and back where rows since say that it was not.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Decision:
        if self.decline_threshold < self.threshold:
            raise ValueError("decline_threshold lies below threshold")
        return self


class Cost(Section):
    """What decisions cost, in one currency."""

    missed_fraud: float = Field(5000.0, ge=0, description="Cost of one missed fraud.")
    amount_feature: str | None = Field(
        None,
        description="Feature of the model that holds a transaction's amount: what a missed fraud "
        "costs then, instead of missed_fraud.",
    )
    false_alarm: tuple[Annotated[float, Field(ge=0)], ...] = Field(
        (15.0, 200.0),
        min_length=1,
        description="Costs of one false alarm; each gives a column of expected cost. The first "
        "one counts where something is decided.",
    )
    review: float | None = Field(
        None,
        ge=0,
        description="Cost of one manual review, in decisions (decision.from_costs has transactions "
        "reviewed where that is cheapest, and none without it) and in expected costs; without it a "
        "review counts there as a decline.",
    )
    reviews_per_hour: int | None = Field(
        None,
        ge=0,
        description="Transactions that people can review in an hour of event time, each partition "
        "an equal part; past it they are declined or approved, whichever is the cheaper. Gives the "
        "recall at capacity.",
    )


class Segment(Section):
    """A declared column of groups of transactions."""

    feature: str | None = Field(None, description="Feature of the model that tells the group.")
    path: str | None = Field(
        None,
        min_length=1,
        description="Or the dotted path, from the root of the transaction's message, to a column "
        "that is no feature.",
    )
    cuts: list[float] = Field(
        default_factory=list,
        max_length=50,
        description="Bounds of its bands, rising; of a feature without any: its whole numbers, "
        "0 to 49.",
    )
    values: list[str | int] = Field(
        default_factory=list,
        max_length=50,
        description="Or, of a column of the message, the texts and whole numbers that are a group "
        "each; all others are one together.",
    )

    @model_validator(mode="after")
    def _sound(self) -> Segment:
        if (self.feature is None) == (self.path is None):
            raise ValueError("name either a feature or a path")
        if any(high <= low for low, high in itertools.pairwise(self.cuts)):
            raise ValueError("cuts must rise")
        if self.feature is not None and self.values:
            raise ValueError("values go with a path; of a feature give cuts, or neither")
        if self.path is not None and bool(self.cuts) == bool(self.values):
            raise ValueError("with a path give either cuts or values")
        if len({str(value) for value in self.values}) < len(self.values):
            raise ValueError("a value is given twice")
        return self


class Prequential(Section):
    """Figures told while it runs: scores against the labels that came for them."""

    window_rows: int = Field(
        1_000, ge=1, description="Labelled rows in a window; each full one gives its figures."
    )


class Commit(Section):
    """When a Kafka transaction is committed."""

    interval_ms: int = Field(
        100,
        ge=1,
        le=30_000,
        description="Milliseconds from one commit to the next; what comes after a quiet time is "
        "committed at once.",
    )
    max_rows: int = Field(50_000, ge=1, description="Scored rows that force a commit.")


class Audit(Section):
    """What an audit can make again."""

    horizon_days: float = Field(
        400.0,
        gt=0,
        description="Days after which the registry topic forgets what a score was made with: "
        "`audit` says of older ones that they are expired.",
    )


class Log(Section):
    """What is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level.")
    format: Literal["auto", "console", "json"] = Field(
        "auto", description="auto: console on a terminal, else JSON."
    )
