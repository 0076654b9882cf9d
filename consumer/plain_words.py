"""What each kind of decision means, for who reads an audit report."""

from __future__ import annotations

from typing import NamedTuple

# Groups of decisions, as they are marked in the plot; of what is not marked the group is empty.
GROUPS = ("change seen", "put in force", "taken back", "refused", "ordered")
ALARM, IN_FORCE, TAKEN_BACK, REFUSED, ORDERED = GROUPS


class Plain(NamedTuple):
    """A kind of decision in plain words."""

    title: str
    meaning: str
    group: str = ""


_PLAIN = {
    "drift-detected": Plain(
        "Drift detected",
        "Transactions differ from those that the model was trained on by more than the thresholds "
        "allow, or the rules and the model disagree too often.",
        ALARM,
    ),
    "drift-recovered": Plain("Drift ended", "Transactions lie within the thresholds again."),
    "regime-changed": Plain(
        "Change of the stream",
        "Transactions, or the errors made on them, have changed for good: what is learnt from now "
        "on is learnt from rows that came since.",
        ALARM,
    ),
    "change-withdrawn": Plain(
        "Change withdrawn", "Labels say that nothing the model knows has changed."
    ),
    "regime-recognised": Plain(
        "Earlier state recognised",
        "Transactions look as they did before: what was in force then is in force again.",
        IN_FORCE,
    ),
    "heal-requested": Plain("Heal requested", "The model is to learn from labelled rows."),
    "heal-deployed": Plain(
        "Heal admitted and put in force",
        "What was learnt counts from the next batch on. Under the default policy the gate has "
        "tried it on labelled rows that it had not learnt from.",
        IN_FORCE,
    ),
    "heal-discarded": Plain(
        "Heal refused", "What was learnt does not count; what was in force stays.", REFUSED
    ),
    "heal-postponed": Plain(
        "Heal postponed", "There were as many heals as an hour may have.", REFUSED
    ),
    "heal-provisional": Plain(
        "Provisional heal",
        "No label of the change has come; what all transactions went through alike is undone "
        "until labels come.",
        IN_FORCE,
    ),
    "heal-withdrawn": Plain(
        "Heal withdrawn",
        "What it rested on does not hold, it costs too much, or a declared segment fares worse.",
        TAKEN_BACK,
    ),
    "rollback": Plain(
        "Rolled back", "Labels speak against what was healed: an earlier state counts.", TAKEN_BACK
    ),
    "less-sure": Plain(
        "Scores made less sure",
        "No label of rows like these has come: scores are drawn to the average until some do.",
        IN_FORCE,
    ),
    "cannot-heal": Plain(
        "Nothing can be healed", "Without labels there is nothing to learn from.", REFUSED
    ),
    "signal-lost": Plain(
        "The features no longer tell fraud", "Scores are calibrated, but cannot rank.", ALARM
    ),
    "state-changed": Plain("State of the healing", ""),
    "approval-requested": Plain(
        "Approval asked for", "It counts only when a person says so, or the settings do in time."
    ),
    "approved": Plain("Approved by a person", "What waited is put in force.", ORDERED),
    "rejected": Plain("Rejected by a person", "What waited is discarded.", ORDERED),
    "approval-expired": Plain(
        "Nobody answered in time", "The answer that the settings give was taken.", REFUSED
    ),
    "approval-void": Plain(
        "No approval needed any more",
        "The stream has changed: what waited was for what was before.",
    ),
    "pinned": Plain(
        "Version pinned by a person", "Nothing else counts until it is taken away.", ORDERED
    ),
    "paused": Plain("Healing paused by a person", "No heal begins until it is resumed.", ORDERED),
    "resumed": Plain("Healing resumed by a person", "A pause and a pin have ended.", ORDERED),
    "command-refused": Plain(
        "Order refused", "It could not be followed, and changed nothing.", REFUSED
    ),
    "rule-disagrees": Plain(
        "A rule disagrees with labels",
        "Rows on which the rule fires are no more often fraud than others: look at the rule.",
        ALARM,
    ),
    "threshold-judged": Plain(
        "Threshold judged by the controller",
        "The threshold in force was compared with another one on labelled rows, by what they cost.",
    ),
    "thresholds-changed": Plain(
        "Thresholds changed", "Decisions follow other thresholds from here on.", ORDERED
    ),
    "thresholds-refused": Plain(
        "Order to change thresholds refused", "The thresholds stay as they were.", REFUSED
    ),
}


def of(action: str) -> Plain:
    """A kind that is not known here is told by its name.

    >>> of("rollback").title, of("heal-approved")
    ('Rolled back', Plain(title='Heal approved', meaning='', group=''))
    """
    return _PLAIN.get(action) or Plain(action.replace("-", " ").capitalize(), "")
