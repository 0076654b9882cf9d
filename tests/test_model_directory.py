"""Model directories: what is written comes back bit for bit, and what is damaged is named."""

import shutil
import tomllib

import pytest
import tomli_w
import torch

from consumer import model_directory, states, train
from consumer.errors import ModelError
from consumer.manifest import MANIFEST
from consumer.model import PlainMLP, SelfHealingMLP
from consumer.model_directory import SHADOW, WEIGHTS
from consumer.rows import Rows
from tests.streams import FEATURES, stream

CLEAN = stream(200)
ROWS = Rows(tuple(FEATURES), CLEAN.transactions.x, CLEAN.labels.is_fraud.astype("float32"))
X = torch.from_numpy(ROWS.x)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A model directory, its module and its shadow."""
    folder = tmp_path_factory.mktemp("model") / "new" / "model"
    torch.manual_seed(3)
    module, shadow = SelfHealingMLP(3, width=8), PlainMLP(3, width=8)
    module.standardise.mean.fill_(0.25)
    module.calibrate.slope.fill_(1.5)
    model_directory.save(
        folder,
        module,
        features=FEATURES,
        rules=["V14 < -1.5"],
        watched=["V14"],
        reference=train.reference(ROWS, module),
        training={"recipe": "default", "holdout": {"f1": 0.5}},
        shadow=shadow,
    )
    return folder, module, shadow


@pytest.fixture
def damaged(written, tmp_path):
    """A copy to be damaged; `edit(key, value)` changes its manifest at a dotted key."""
    folder = shutil.copytree(written[0], tmp_path / "model")

    def edit(key, value):
        manifest = tomllib.loads((folder / MANIFEST).read_text())
        *path, last = key.split(".")
        table = manifest
        for step in path:
            table = table[step]
        if value is None:
            del table[last]
        else:
            table[last] = value
        (folder / MANIFEST).write_text(tomli_w.dumps(manifest))

    return folder, edit


def refused(folder):
    with pytest.raises(ModelError) as error:
        model_directory.load(folder)
    return str(error.value)


def test_what_was_written_comes_back_bit_for_bit(written):
    folder, module, shadow = written

    found = model_directory.load(folder)

    assert torch.equal(found.module(X), module.eval()(X))
    assert torch.equal(found.shadow(X), shadow.eval()(X))
    for name, tensor in module.state_dict().items():
        assert torch.equal(found.module.state_dict()[name], tensor)
    assert states.to_bytes(found.base_adapter) == states.to_bytes(module.adapter_state())
    assert (found.features, [str(r) for r in found.rules.rules]) == (FEATURES, ["V14 < -1.5"])
    assert found.manifest.fidi.features == ["V14"]
    assert found.manifest.training == {"recipe": "default", "holdout": {"f1": 0.5}}
    found.check_base()


def test_a_loaded_model_is_frozen_and_in_evaluation_mode(written):
    found = model_directory.load(written[0])

    for module in (found.module, found.shadow):
        assert not module.training
        assert not any(p.requires_grad for p in module.parameters())


def test_a_directory_without_a_shadow_has_none(tmp_path):
    module = SelfHealingMLP(3)
    model_directory.save(
        tmp_path,
        module,
        features=FEATURES,
        rules=[],
        watched=FEATURES,
        reference=train.reference(ROWS, module),
        training={},
    )

    assert model_directory.load(tmp_path).shadow is None


def test_the_version_follows_the_weights(tmp_path):
    def version(seed):
        torch.manual_seed(seed)
        module = SelfHealingMLP(3)
        return model_directory.save(
            tmp_path,
            module,
            features=FEATURES,
            rules=[],
            watched=FEATURES,
            reference=train.reference(ROWS, module),
            training={},
        ).model_version

    assert version(1) == version(1) != version(2)


def test_the_base_hash_covers_all_but_the_adapter(written):
    _, module, _ = written
    before = model_directory.base_sha256(module)

    changes = {}
    for name, tensor in module.state_dict().items():
        kept = tensor.clone()
        tensor.add_(1)
        changes[name] = model_directory.base_sha256(module) != before
        tensor.copy_(kept)

    assert {n for n, changed in changes.items() if not changed} == {
        n for n in changes if n.startswith("reflexive.")
    }
    assert any(n.startswith("reflexive.") for n in changes)


def test_a_base_that_changes_while_running_is_noticed(written):
    found = model_directory.load(written[0])

    found.module.head.bias.add_(1e-3)

    with pytest.raises(ModelError, match="changed while running"):
        found.check_base()


@pytest.mark.parametrize("file", [MANIFEST, WEIGHTS, SHADOW])
def test_a_missing_file_is_named(damaged, file):
    folder, _ = damaged
    (folder / file).unlink()

    assert f"{file}: No such file or directory" in refused(folder)


def test_a_missing_directory_is_named_with_the_way_out(tmp_path):
    assert "python -m consumer train" in refused(tmp_path / "nowhere")


@pytest.mark.parametrize("file", [WEIGHTS, SHADOW])
def test_a_changed_byte_is_refused(damaged, file):
    folder, _ = damaged
    data = bytearray((folder / file).read_bytes())
    data[-1] ^= 1
    (folder / file).write_bytes(data)

    assert f"{file}: sha256 is " in refused(folder)


@pytest.mark.parametrize(("file", "key"), [(WEIGHTS, "weights_sha256"), (SHADOW, "shadow.sha256")])
def test_bytes_that_are_no_weights_are_refused(damaged, file, key):
    folder, edit = damaged
    (folder / file).write_bytes(b"anything")
    edit(key, states.sha256(b"anything"))

    assert f"{file}: not safetensors" in refused(folder)


def test_weights_of_another_shape_are_refused(damaged):
    folder, edit = damaged
    edit("width", 9)

    assert "tensor 'backbone.0.weight' has shape (8, 3), the network's (9, 3)" in refused(folder)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", 2, "format 2, we read 1"),
        ("architecture", "Transformer", "architecture 'Transformer' is not known; known: SelfHeal"),
        ("width", 0, "width: Input should be greater than or equal to 1"),
        ("width", None, "width: Field required"),
        ("surprise", 1, "surprise: Extra inputs are not permitted"),
        ("reference.rows", "many", "reference.rows: Input should be a valid integer"),
        ("reference.mean", [0.0], "reference.mean has 1 numbers for 3 features"),
        ("reference.sd", [1.0] * 4, "reference.sd has 4 numbers for 3 features"),
        ("features", ["V3", "V14", "V14"], "a feature is named twice"),
        ("fidi.features", ["V9"], "fidi.features names 'V9'"),
        ("fidi.features", [], "fidi.features: List should have at least 1 item"),
        ("base_sha256", "0" * 64, "base_sha256 does not match the manifest"),
    ],
)
def test_a_wrong_manifest_is_refused_by_its_key(damaged, key, value, message):
    folder, edit = damaged
    edit(key, value)

    assert message in refused(folder)


@pytest.mark.parametrize(
    ("rule", "message"),
    [("V9 < 1", "no feature 'V9' among V3, V14, V8"), ("V14 = 1", "'=' is no feature, number")],
)
def test_a_wrong_rule_is_refused(damaged, rule, message):
    folder, edit = damaged
    edit("rules", [rule])

    assert message in refused(folder)


def test_a_manifest_that_is_no_toml_is_named(damaged):
    folder, _ = damaged
    (folder / MANIFEST).write_text("width 8")

    assert f"{MANIFEST} is not TOML" in refused(folder)
