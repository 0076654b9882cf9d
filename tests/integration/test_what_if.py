"""`what-if` as a person runs it, on what a consumer has left on its topics."""

import orjson
import pytest

from consumer.decision import APPROVE, DECLINE, REVIEW
from consumer.model_directory import Model
from consumer.prequential import prequential
from tests.broker import Broker
from tests.conftest import CreateTopics, Names
from tests.integration import commands, consuming


def test_past_decisions_at_other_prices(
    broker: Broker, names: Names, create_topics: CreateTopics, model: Model
) -> None:
    create_topics(names.transactions, names.labels)
    settings = consuming.settings(broker.bootstrap, names, heal__mode="inline")
    where = ("--bootstrap-servers", broker.bootstrap, "--application-id", names.application_id)

    assert "nothing was consumed as" in commands.refused("what-if", *where)
    consuming.consume(settings, model)
    assert "no labelled rows yet" in commands.refused("what-if", *where)

    consuming.send(settings, consuming.drifting(900, seed=4), range(900))
    consuming.consume(settings, model)
    asked = ("--fn", "1000", "--fp", "5", "--fp", "50")
    found = orjson.loads(commands.run("what-if", *asked, "--json", *where).out[0])
    rows = prequential(consuming.messages(settings, "labelled"))
    for name, counts in (("healed", rows.healed()), ("frozen", rows.frozen())):
        expected = [counts.fn * 1000 + counts.fp * price for price in (5, 50)]
        assert [at["cost"] for at in found[name]["prices"]] == pytest.approx(expected)
    assert found["rows"] == 900

    # With a price of their own reviews are neither false alarms nor anything else.
    asked_too = (*asked, "--review", "3")
    found = orjson.loads(commands.run("what-if", *asked_too, "--json", *where).out[0])
    for name, made in (("healed", rows.decision), ("frozen", rows.shadow_decision)):
        declined = ((made == DECLINE) & (rows.label == 0)).sum()
        lost = 1000 * ((made == APPROVE) & (rows.label == 1)).sum() + 3 * (made == REVIEW).sum()
        assert (made == REVIEW).any()
        assert found[name]["reviewed"] == (made == REVIEW).sum()
        expected = [lost + declined * price for price in (5, 50)]
        assert [at["cost"] for at in found[name]["prices"]] == pytest.approx(expected)
    assert "at 3 each" in "".join(commands.run("what-if", *asked_too, *where).out)

    shown = commands.run("what-if", *asked, *where)
    assert shown.status == 0
    assert "900 labelled rows; a missed fraud costs 1,000" in shown.out[0]
    by_amount = ("--set", "cost.amount_feature=amount")
    assert "no feature 'amount'" in commands.refused("what-if", *by_amount, *where)
    # A price of their own for all wins over the amount.
    assert commands.run("what-if", *asked, *by_amount, *where).out == shown.out
