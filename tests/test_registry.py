"""Snapshots: their numbers, the best of them, and what is refused when they come back."""

import orjson
import pytest
import torch

from consumer import encode, states
from consumer.errors import RegistryError
from consumer.registry import Activation, InForce, Place, Registry
from tests.schemas import conforms
from tests.streams import START_MS

BASE, OTHER = "b" * 64, "0" * 64
PLACE = Place("transactions", 2, 499, START_MS)


def state(value):
    return {"scale": torch.tensor(float(value)), "weight": torch.full((2, 2), float(value))}


def registry(base=BASE):
    return Registry("3f2a91c04d5e", base)


def healed(of, f1, value=0.0):
    return of.snapshot(
        "post-heal",
        state(value),
        parent=1,
        reason="fidi",
        place=PLACE,
        batch=3,
        figures={"accuracy": 0.5, "f1": f1, "rows": 100},
    )


def published(snapshot):
    """Key, value and manifest as they are read back."""
    return snapshot.key, snapshot.value, orjson.loads(encode.manifest(snapshot))


def test_versions_count_from_one():
    of = registry()

    numbers = [of.snapshot("base", state(0), parent=None, reason="") for _ in range(3)]

    assert [s.version for s in numbers] == [1, 2, 3]
    assert numbers[2].key == "snapshot/3"


def test_the_manifest_says_what_and_where():
    found = healed(registry(), f1=0.25)

    manifest = dict(found.manifest)
    conforms("snapshot-manifest", manifest)
    assert manifest["sha256"] == states.sha256(found.value)
    assert (manifest["base_sha256"], manifest["parent"], manifest["batch"]) == (BASE, 1, 3)
    assert (manifest["partition"], manifest["offset"], manifest["taken_at"]) == (2, 499, START_MS)


def test_a_base_snapshot_conforms_as_well():
    conforms(
        "snapshot-manifest",
        dict(registry().snapshot("base", state(0), parent=None, reason="as trained").manifest),
    )


def test_the_best_is_the_post_heal_snapshot_of_the_highest_f1_the_earlier_at_a_tie():
    of = registry()
    of.snapshot("base", state(0), parent=None, reason="")
    assert of.best is None

    for f1 in (0.0, 0.3, 0.5, 0.5, 0.4):
        healed(of, f1)

    assert of.best.version == 4


def test_what_was_published_comes_back_bit_for_bit():
    before = registry()
    written = [before.snapshot("base", state(0), parent=None, reason=""), healed(before, 0.2, 1.5)]

    after = registry()
    read = [after.restore(*published(s)) for s in written]

    for one, other in zip(written, read, strict=True):
        assert (one.version, one.kind, one.value) == (other.version, other.kind, other.value)
        assert all(torch.equal(one.adapter[n], other.adapter[n]) for n in one.adapter)
        assert states.to_bytes(other.adapter) == one.value
    assert after.best is read[1]
    assert after.snapshot("pre-heal", state(0), parent=2, reason="").version == 3


def test_equal_states_have_equal_bytes_whatever_their_order():
    reverse = dict(reversed(state(1).items()))

    assert states.to_bytes(reverse) == states.to_bytes(state(1))


def test_other_bytes_than_the_manifests_are_refused():
    key, value, manifest = published(healed(registry(), 0.9))
    after = registry()

    with pytest.raises(RegistryError, match=r"snapshot/1: sha256 is .* it is refused"):
        after.restore(key, value[:-1] + b"\1", manifest)

    assert after.best is None
    assert after.snapshot("base", state(0), parent=None, reason="").version == 2


def test_bytes_that_are_no_safetensors_are_refused():
    key, _, manifest = published(healed(registry(), 0.9))
    value = b"anything"

    with pytest.raises(RegistryError, match="not safetensors"):
        registry().restore(key, value, manifest | {"sha256": states.sha256(value)})


def test_a_manifest_under_another_key_is_refused():
    _, value, manifest = published(healed(registry(), 0.9))

    with pytest.raises(RegistryError, match="snapshot/8: its manifest says version 1"):
        registry().restore("snapshot/8", value, manifest)


def test_a_snapshot_of_another_base_is_passed_over_but_its_number_is_used():
    after = registry(OTHER)

    assert after.restore(*published(healed(registry(), 0.9))) is None
    assert after.best is None
    assert after.snapshot("base", state(0), parent=None, reason="").version == 2


def test_an_activation_names_from_where_on():
    of = registry()
    snapshot = of.snapshot("pool", state(0), parent=None, reason="")
    found = Activation(PLACE, InForce(snapshot, {"frozen": 0.25, "residual": 0.75}), "3f2a91c04d5e")

    assert found.key == "active/transactions/2/499"
    conforms("activation", orjson.loads(found.value))
    assert orjson.loads(found.value)["version"] == snapshot.version
    assert InForce.of(orjson.loads(found.value), snapshot) == found.in_force


def test_a_snapshot_larger_than_the_topic_takes_is_refused_with_what_to_do():
    of = Registry("3f2a91c04d5e", BASE, max_bytes=100)

    with pytest.raises(RegistryError, match=r"\d+ bytes.*takes 100: raise.*max\.message\.bytes"):
        healed(of, 0.5)
