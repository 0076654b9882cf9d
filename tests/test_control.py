"""What people order: heals that wait for approval, pins, pauses, rollbacks; each order once."""

from dataclasses import replace

import pytest

from consumer.command import Approve, Pause, Pin, Reject, Resume, Rollback, SetThresholds
from consumer.driver import Driver
from consumer.errors import SettingsError
from consumer.mixture import FROZEN
from consumer.outputs import Outputs
from consumer.registry import Place
from tests.hedging import CLEAN, NEVER, after, novel, translate
from tests.schemas import conforms
from tests.streams import BATCH, START_MS, STEP_MS, model, settings

AT = Place("commands", 0, 0, START_MS)
REQUIRED = {"heal.policy": "hedge", "heal.mode": "inline", "heal.approval": "required"}


def order(kind, number=1, **fields):
    return kind(
        command_id=f"{kind.__name__}-{number}",
        issued_at=START_MS,
        issued_by="ann",
        why="the figures hold",
        **fields,
    )


class Ordered:
    """A stream in chunks of a batch; `decide` may order something after each."""

    def __init__(self, rows, flags, decide, *, late_ms=0):
        self.events, self.deployed, self.activations = [], [], []
        self._out = Outputs()
        with Driver(settings(flags), model()) as self.driver:
            self.pipeline = self.driver.pipeline
            self._decide = decide
            self.driver.run([_chunk(batch, late_ms) for batch in rows.batches()], self._take)

    def _take(self, out):
        self.events += out.events
        self.deployed += out.deployed
        self.activations += out.activations
        for event in out.events:
            conforms("event", event)
        self._decide(self, [e["reflexive"] | {"action": e["event"]["action"]} for e in out.events])

    def said(self, action):
        return [e["reflexive"] for e in self.events if e["event"]["action"] == action]

    @property
    def waiting(self):
        return list(self.pipeline.healing.control.waiting)


def _chunk(batch, late_ms):
    labels = batch.labels
    return batch.transactions, replace(labels, labelled_at=labels.labelled_at + late_ms)


def nothing(run, events):
    """Nobody orders anything."""


def test_a_heal_waits_until_it_is_approved_and_only_then_counts():
    at_request = {}

    def decide(run, events):
        for id_ in run.waiting:
            if id_ not in at_request:
                at_request[id_] = dict(run.pipeline.healing.deployed.weights)
            elif len(at_request) == 1:
                run.pipeline.command(order(Approve, approval_id=id_), AT)
                run.pipeline.command(order(Approve, approval_id=id_), AT)

    run = Ordered(after(translate, CLEAN, clean=0), REQUIRED, decide)

    first, *others = run.said("approval-requested")
    assert at_request[first["approval_id"]] == {FROZEN: 1.0}
    (approved,) = run.said("approved")
    assert (approved["approval_id"], approved["issued_by"]) == (first["approval_id"], "ann")
    (deployed,) = run.said("heal-deployed")
    assert deployed["approval_id"] == first["approval_id"]
    assert deployed["gate"] == first["gate"]
    assert len(deployed["weights"]) > 1
    assert len(others) == 1  # waits to the end
    assert run.waiting == [others[0]["approval_id"]]


def test_what_is_rejected_is_gone_and_the_next_heal_asks_anew():
    def decide(run, events):
        for id_ in run.waiting:
            run.pipeline.command(order(Reject, id_, approval_id=id_), AT)

    run = Ordered(after(translate, CLEAN // 2, clean=0), REQUIRED, decide)

    asked = run.said("approval-requested")
    assert len(asked) > 2
    assert [e["approval_id"] for e in run.said("rejected")] == [e["approval_id"] for e in asked]
    assert not run.said("heal-deployed")
    assert all(dict(each.weights) == {FROZEN: 1.0} for each in run.deployed)


@pytest.mark.parametrize("answer", ["reject", "approve"])
def test_without_an_answer_the_settings_give_one(answer):
    patience_s = 20 * BATCH * STEP_MS / 1000
    given = {"heal.approval_timeout_s": patience_s, "heal.approval_on_timeout": answer}
    run = Ordered(after(translate, CLEAN, clean=0), REQUIRED | given, nothing)

    asked = run.said("approval-requested")
    expired = run.said("approval-expired")
    assert len(asked) >= 2
    assert expired[0]["approval_id"] == asked[0]["approval_id"]
    assert bool(run.said("heal-deployed")) == (answer == "approve")


def test_without_labels_nothing_counts_that_nobody_has_permitted():
    run = Ordered(after(translate), REQUIRED, nothing, late_ms=NEVER)
    (asked,) = run.said("approval-requested")
    assert asked["approval_id"] == "alignment-1"
    assert not run.said("heal-provisional")

    def decide(run, events):
        for id_ in run.waiting:
            run.pipeline.command(order(Approve, approval_id=id_), AT)

    run = Ordered(after(translate), REQUIRED, decide, late_ms=NEVER)
    (made,) = run.said("heal-provisional")
    assert made["weights"]["alignment"] > 0.9


def test_what_waits_for_a_regime_that_has_ended_waits_no_longer():
    both = after(translate, 2 * CLEAN, clean=0)
    both.transactions.x[CLEAN:, 0] += 3

    run = Ordered(both, REQUIRED, nothing)

    (void,) = run.said("approval-void")
    assert void["approval_id"] == run.said("approval-requested")[0]["approval_id"]
    assert len(run.said("approval-requested")) > 1  # healing goes on


def test_a_pin_holds_through_drift_until_it_is_taken_away():
    def decide(run, events):
        control = run.pipeline.healing.control
        batches = sum(e["event"]["action"] == "batch-monitored" for e in run.events)
        if batches == CLEAN // BATCH - 1:
            run.pipeline.command(order(Pin), AT)
        if batches == CLEAN // BATCH + 20 and control.pinned:
            run.at = len(run.activations)
            run.pipeline.command(order(Resume), AT)

    flags = {"heal.policy": "hedge", "heal.mode": "inline"}
    run = Ordered(after(novel), flags, decide)

    (pinned,) = run.said("pinned")
    since = CLEAN - BATCH
    held = [a for a in run.activations if since < a.place.offset <= CLEAN + 19 * BATCH]
    assert held == []
    assert run.said("regime-changed")  # it is seen, and said
    assert len(run.activations) > run.at
    assert pinned["version"] <= run.activations[run.at].version


def test_while_a_version_is_pinned_that_is_no_guess_labels_judge_none():
    pinned_at = [CLEAN // BATCH + 10, CLEAN // BATCH + 20]

    def decide(run, events):
        control, now = run.pipeline.healing.control, run.pipeline.healing.deployed
        run.base = getattr(run, "base", now)
        batches = sum(e["event"]["action"] == "batch-monitored" for e in run.events)
        if batches == pinned_at[0] and not control.pinned:
            assert now.provisional
            run.pipeline.command(order(Pin, version=run.base.version), AT, run.base)
        if batches == pinned_at[1] and control.pinned:
            run.pipeline.command(order(Resume), AT)

    flags = {"heal.policy": "hedge", "heal.mode": "inline"}
    rows = after(translate)
    run = Ordered(rows, flags, decide, late_ms=NEVER)

    assert run.said("heal-provisional")
    shares = run.pipeline.healing._mind.guesses.shares(rows.transactions.event_time)
    first, last = (at * BATCH for at in pinned_at)
    assert max(shares[first + BATCH : last]) == 0
    assert min(shares[first - BATCH : first]) > 0.9
    assert min(shares[last + 2 * BATCH :]) > 0.9


def test_a_guess_that_is_pinned_counts_and_is_judged_though_labels_would_have_ended_it():
    def decide(run, events):
        control, now = run.pipeline.healing.control, run.pipeline.healing.deployed
        batches = sum(e["event"]["action"] == "batch-monitored" for e in run.events)
        if batches == CLEAN // BATCH + 10 and not control.pinned:
            assert now.provisional
            run.pipeline.command(order(Pin), AT)

    flags = {"heal.policy": "hedge", "heal.mode": "inline"}
    rows = after(translate)
    run = Ordered(rows, flags, decide, late_ms=15 * BATCH * STEP_MS)

    assert run.pipeline.healing._mind.pool.lent is None  # labels have come
    shares = run.pipeline.healing._mind.guesses.shares(rows.transactions.event_time)
    assert min(shares[CLEAN + 10 * BATCH :]) > 0.9


def test_paused_no_heal_begins():
    def decide(run, events):
        if not run.said("paused"):
            run.pipeline.command(order(Pause), AT)

    flags = {"heal.policy": "hedge", "heal.mode": "inline"}
    run = Ordered(after(translate, CLEAN, clean=0), flags, decide)

    assert run.pipeline.healing.control.paused
    assert not run.said("heal-deployed")
    assert not run.said("heal-discarded")


def test_rolled_back_by_a_person_the_version_counts_with_the_weights_it_had():
    def decide(run, events):
        healing = run.pipeline.healing
        if healing.heals == 1 and not hasattr(run, "before"):
            run.before = healing.deployed
        if healing.heals == 3 and not run.said("rollback"):
            run.pipeline.command(order(Rollback, version=run.before.version), AT, run.before)
            assert healing.deployed.weights == run.before.weights
            assert healing.rolled_back

    flags = {"heal.policy": "hedge", "heal.mode": "inline"}
    run = Ordered(after(translate, CLEAN, clean=0), flags, decide)

    back = next(e for e in run.said("rollback") if "issued_by" in e)
    assert back["restored_version"] == run.before.version


def test_an_order_that_cannot_be_followed_is_said_and_may_come_again():
    def decide(run, events):
        if not run.waiting and not run.said("command-refused"):
            run.pipeline.command(order(Approve, approval_id="heal-2"), AT)
            run.pipeline.command(order(Rollback, version=99), AT)
        elif run.waiting == ["heal-2"]:
            run.pipeline.command(order(Approve, approval_id="heal-2"), AT)

    run = Ordered(after(translate, CLEAN, clean=0), REQUIRED, decide)

    assert [e["reason"] for e in run.said("command-refused")] == [
        "nothing waits for approval as 'heal-2'",
        "version 99 was never in force",
    ]
    assert run.said("approved")


def test_thresholds_ordered_over_the_topic_are_set_and_not_recorded_once_more():
    told = []

    def decide(run, events):
        if not run.said("thresholds-changed"):
            given = {"decision.threshold": 0.4}
            run.pipeline.command(order(SetThresholds, thresholds=given), AT)
            told.extend(run.pipeline.out.commands)

    run = Ordered(after(translate, 5 * BATCH, clean=0), REQUIRED, decide)

    assert run.pipeline.healing.thresholds.decision_threshold == 0.4
    assert told == []


def test_a_policy_that_deploys_by_itself_cannot_wait():
    with pytest.raises(SettingsError, match="approval = required needs policy hedge"):
        settings({"heal.policy": "paper", "heal.approval": "required"})
