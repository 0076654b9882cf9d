"""A model directory that is broken in any way ends `run` with a line that names the file."""

import pickle
import shutil
import sys
import tomllib

import pytest
import safetensors.torch
import tomli_w
import torch

from consumer import __main__, bring_your_own, states
from consumer.manifest import MANIFEST, RuleTable
from consumer.model_directory import REFERENCE, WEIGHTS
from examples.networks import FraudResNet
from tests.streams import FEATURES, stream

ROWS = stream(200)
SHAPE = {"features": 3, "width": 8, "blocks": 1}
TENSOR = "blocks.0.mixed.0.weight"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own") / "model"
    torch.manual_seed(1)
    bring_your_own.save(
        folder,
        FraudResNet(**SHAPE),
        path="examples.networks:FraudResNet",
        arguments=SHAPE,
        adapter="blocks.0.adapter",
        output="logit",
        features=FEATURES,
        x=ROWS.transactions.x,
        label=ROWS.labels.is_fraud,
        rules=[RuleTable(name="low", when="V14 < -1.5", weight=2.0)],
    )
    return folder


def manifest(folder, change):
    """Change what the manifest says, as someone with an editor would."""
    said = tomllib.loads((folder / MANIFEST).read_text())
    change(said)
    (folder / MANIFEST).write_text(tomli_w.dumps(said))


def weights(folder, change, file=WEIGHTS, key="weights_sha256"):
    """Change the tensors, and the hash with them: only what they hold is wrong."""
    state = safetensors.torch.load_file(folder / file)
    change(state)
    data = states.to_bytes(state)
    (folder / file).write_bytes(data)
    manifest(folder, lambda said: said.update({key: states.sha256(data)}))


def not_a_number(state):
    state[TENSOR][0, 1] = float("nan")


def of_another_shape(state):
    state[TENSOR] = state[TENSOR][:, 1:]


def another_base(state):
    state["last.1.bias"] += 1


def rule(when):
    return lambda folder: manifest(folder, lambda said: said["rules"][0].update(when=when))


def module(**change):
    return lambda folder: manifest(folder, lambda said: said["module"].update(change))


def swapped(said):
    said["features"] = [said["features"][i] for i in (1, 0, 2)]


def another_feature(said):
    """With all that belongs to it: only the network itself and its rows tell."""
    said["features"].append("V99")
    del said["features_sha256"]
    for name in ("mean", "sd", "skewness", "unrest"):
        said["reference"][name].append(1.0)


def pickled(data):
    return lambda folder: (folder / WEIGHTS).write_bytes(data)


def torch_saved(folder):
    torch.save(FraudResNet(**SHAPE).state_dict(), folder / WEIGHTS)


WAYS = {
    "missing tensor": (
        lambda folder: weights(folder, lambda state: state.pop(TENSOR)),
        f"{WEIGHTS}: no tensor '{TENSOR}'; the file is of another network, or damaged; write",
    ),
    "another tensor": (
        lambda folder: weights(folder, lambda state: state.update(more=torch.ones(1))),
        f"{WEIGHTS}: tensor 'more' is none of the network's",
    ),
    "wrong shape": (
        lambda folder: weights(folder, of_another_shape),
        f"{WEIGHTS}: tensor '{TENSOR}' has shape (16, 7), the network's (16, 8); the file is of",
    ),
    "NaN weights": (
        lambda folder: weights(folder, not_a_number),
        f"{WEIGHTS}: tensor '{TENSOR}' has 1 numbers that are not finite; train again",
    ),
    "unknown operator in a rule": (
        rule("V14 ** 2 < 3"),
        f"{MANIFEST}: rule 'V14 ** 2 < 3': expected a feature or a number after '*', found '*'",
    ),
    "unknown function in a rule": (
        rule("V14 % 2 < 3"),
        f"{MANIFEST}: rule 'V14 % 2 < 3': '%' is no feature, number or operator",
    ),
    "adapter not found": (
        module(adapter="blocks.7.adapter"),
        f"{MANIFEST}: module.adapter: no submodule 'blocks.7.adapter' in examples.networks:Fraud",
    ),
    "base hash mismatch": (
        lambda folder: weights(folder, another_base),
        f"{WEIGHTS}: base_sha256 does not match the manifest; the two files are not of one",
    ),
    "feature list in another order": (
        lambda folder: manifest(folder, swapped),
        f"{MANIFEST}: features are not those that the model was trained on, or in another order",
    ),
    "feature list of another length": (
        lambda folder: manifest(folder, another_feature),
        f"{MANIFEST}: module.path: examples.networks:FraudResNet cannot take rows of the 4 feat",
    ),
    "rule syntax": (
        rule("V14 < -1.5 and"),
        f"{MANIFEST}: rule 'V14 < -1.5 and': expected a feature or a number after 'and', found",
    ),
    "rule on an unknown feature": (
        rule("V99 < 1"),
        f"{MANIFEST}: rule 'V99 < 1': no feature 'V99' among V3, V14, V8",
    ),
    "rule without weight": (
        lambda folder: manifest(folder, lambda said: said["rules"][0].update(weight=0.0)),
        f"{MANIFEST}: rules.0.weight: Input should be greater than 0",
    ),
    "pickled": (
        pickled(pickle.dumps({"any": 1})),
        f"{WEIGHTS}: a pickled file, which is never read; write the weights as safetensors",
    ),
    "pickled by torch": (
        torch_saved,
        f"{WEIGHTS}: a pickled file, which is never read; write the weights as safetensors",
    ),
    "import path not found": (
        module(path="my_team.models:DeepFraud"),
        f"{MANIFEST}: module.path: no module 'my_team' on the Python path; start where",
    ),
    "not a module": (
        module(path="collections:Counter"),
        f"{MANIFEST}: module.path: collections:Counter makes a Counter, not a torch.nn.Module",
    ),
    "no import path": (
        module(path="my_team/models.py"),
        f"{MANIFEST}: module.path: String should match pattern",
    ),
    "another output": (
        module(output="score"),
        f"{MANIFEST}: module.output: Input should be 'logit' or 'probability'",
    ),
    "no module table": (
        lambda folder: manifest(folder, lambda said: said.pop("module")),
        f"{MANIFEST}: architecture = 'module' and a table [module] belong together",
    ),
    "reference without a tensor": (
        lambda folder: weights(
            folder, lambda state: state.pop("quantiles"), REFERENCE, "reference_sha256"
        ),
        f"{REFERENCE}: no tensor 'quantiles'; train again",
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_broken_directory_is_one_line(written, tmp_path, monkeypatch, capsys, way):
    broken, said = WAYS[way]
    folder = shutil.copytree(written, tmp_path / "model")
    broken(folder)
    monkeypatch.setattr(sys, "argv", ["consumer", "run", "--model", str(folder)])

    with pytest.raises(SystemExit) as ended:
        __main__.main()

    lines = capsys.readouterr().err.strip().splitlines()
    assert ended.value.code == 1
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    assert f"{folder}/{said}" in lines[-1]


def test_the_same_directory_unbroken_is_not_refused(written, monkeypatch, capsys):
    arguments = ["consumer", "run", "--model", str(written), "--bootstrap-servers", "127.0.0.1:1"]
    monkeypatch.setattr(sys, "argv", arguments)

    with pytest.raises(SystemExit):
        __main__.main()

    assert "no Kafka broker answers at 127.0.0.1:1" in capsys.readouterr().err.splitlines()[-1]
