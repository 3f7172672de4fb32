"""Commands that help to write sweep files: schema, init."""

import json
import subprocess
import sys
from pathlib import Path

from orchestrator.study.schema import sweep_file_schema
from orchestrator.study.sweep import load_sweep
from tests.cli.command import Command

CHECK = [str(Path(sys.executable).with_name("check-jsonschema")), "--schemafile"]
CODE = """\
import torch
from torch import nn

class Net(nn.Sequential):
    def __init__(self, input_shape, outputs, width=8):
        super().__init__(nn.Linear(input_shape[0], width), nn.Tanh(), nn.Linear(width, outputs))

def load():
    inputs = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    targets = (inputs.sum(1) > 0).long()
    return inputs[50:], targets[50:], inputs[:50], targets[:50]
"""


def test_schema_prints_the_schema(run: Command) -> None:
    assert json.loads(run("schema").stdout) == sweep_file_schema()


def test_init_writes_a_file_that_trains_own_code_and_a_schema_that_finds_mistakes(run: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CODE)
    run.monkeypatch.syspath_prepend(str(tmp_path))
    done = run("init", "first.yaml", "--model", "mine:Net", "--data", "mine:load")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("wrote first.yaml: 4 trials\nwrote sweep.schema.json")
    first = next(iter(load_sweep(str(tmp_path / "first.yaml")).by_id))
    trained = run("trial", "first.yaml", first, "--set", "epochs=1")
    assert trained.returncode == 0, trained.stderr
    assert "lambda_max" in trained.stdout

    text = (tmp_path / "first.yaml").read_text()
    (tmp_path / "wrong.yaml").write_text(text.replace("name: sgd", "name: sdg"))
    checked = [
        subprocess.run([*CHECK, "sweep.schema.json", name], cwd=tmp_path, capture_output=True, text=True)
        for name in ("first.yaml", "wrong.yaml")
    ]
    assert [each.returncode for each in checked] == [0, 1], checked
    assert "'sdg'" in checked[1].stdout


def test_init_never_overwrites(run: Command, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text("mine")
    (tmp_path / "sweep.schema.json").write_text("{}")
    refused = run("init")
    assert refused.returncode == 2
    assert "sweep.yaml exists and is never overwritten; give the name of a new file" in refused.stderr
    assert (tmp_path / "sweep.yaml").read_text() == "mine"
    assert "kept sweep.schema.json, which is of another version" in run("init", "other.yaml").stdout
    assert (tmp_path / "sweep.schema.json").read_text() == "{}"


def test_init_with_a_wrong_name_writes_nothing(run: Command, tmp_path: Path) -> None:
    for arguments, message in {
        ("a.yaml", "--model", "rsenet"): "trial.model.name = 'rsenet': unknown name; did you mean 'resnet'?",
        ("a b.yaml",): "name = 'a b': must be letters, digits",
        ("a.txt",): "'a.txt' is not a name of a sweep file; end it in .yaml",
        ("absent/a.yaml",): "absent/a.yaml cannot be written: No such file or directory",
    }.items():
        refused = run("init", *arguments)
        assert refused.returncode == 2
        assert message in refused.stderr
    assert list(tmp_path.iterdir()) == []
