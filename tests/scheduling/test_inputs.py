"""Stored trials are not taken for trials on other images or of other code, although their ids are the same."""

import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from orchestrator.scheduling.driver import run_sweep
from orchestrator.scheduling.forecast.probe import ProbeResult
from orchestrator.scheduling.inputs import MOST_CHANGES, ChangedInputsError, compare_inputs
from orchestrator.scheduling.options import RunOptions
from orchestrator.scheduling.plan import Plan, reconcile
from orchestrator.scheduling.remeasuring.change import read_change
from orchestrator.scheduling.remeasuring.sweep import remeasure_sweep
from orchestrator.store.recorded_code import recorded_code
from orchestrator.store.storage import Storage
from orchestrator.store.trial import TrialStore
from orchestrator.study.sweep import Sweep, load_sweep
from orchestrator.training.data.cache.decoded_copy import CACHE_VARIABLE
from orchestrator.training.data.datasets import load_data
from tests.scheduling.inline import invoke, use_inline_engine
from tests.training.folders import make_folder, write_image
from tests.training.trials import small_trial

NET = """
from torch import nn
from idnet_parts import width

class Net(nn.Sequential):
    def __init__(self, shape, classes):
        inputs = shape[0] * shape[1] * shape[2]
        super().__init__(nn.Flatten(), nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, classes))
"""
GELU = NET.replace("ReLU", "GELU")
OWN = {"name": "idnets:Net"}


class Project:
    """A user's folder with a network, two image folders and a storage."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.storage = Storage(folder / "results")
        self.write(idnets=NET, idnet_parts="width = 4\n")

    def write(self, **sources: str) -> None:
        """Edits modules, as if the next command were a new process."""
        for name, source in sources.items():
            (self.folder / f"{name}.py").write_text(source)
            sys.modules.pop(name, None)

    def sweep(self, seeds: int = 1, **trial: Any) -> Sweep:
        """Writes a sweep file and loads it."""
        content = small_trial(**{"epochs": 1, **trial}).model_dump(mode="json", exclude={"seed"})
        file = self.folder / "night.yaml"
        file.write_text(yaml.safe_dump({"name": "night", "trial": content, "grid": {"seed": list(range(seeds))}}))
        return load_sweep(str(file))

    def run(self, desired: Sweep, **options: Any) -> Plan:
        load_data.cache_clear()
        return run_sweep(desired, self.storage, Console(file=io.StringIO()), RunOptions("local", **options))

    def images(self, name: str, seed: int = 0) -> dict[str, str]:
        """Returns the config of a folder of images; another seed changes one of them."""
        folder = self.folder / name
        if not folder.exists():
            write_image(make_folder(folder, per_class=8) / "train" / "cat" / "000.png", seed=900 + seed)
        return {"name": "image_folder", "path": str(folder)}

    def show(self, *command: str) -> str:
        code, said = invoke(self.folder, *command, "./night.yaml", "--storage", "results")
        assert code == 0, said
        return said


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    use_inline_engine(monkeypatch)
    known_times = lambda parts, *_: ProbeResult(dict.fromkeys(parts, 1.0), 1.0)  # noqa: E731
    monkeypatch.setattr("orchestrator.scheduling.forecast.estimate.probe", known_times)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # Python detects changed sources by time and size
    yield Project(tmp_path)
    load_data.cache_clear()
    for name in ("idnets", "idnet_parts", "iddata"):
        sys.modules.pop(name, None)


def only_trial(project: Project, desired: Sweep) -> TrialStore:
    (trial_id,) = desired.by_id
    return project.storage.trial(trial_id)


def files(project: Project) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in (project.folder / "results" / "trials").rglob("*")}


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_trial_of_other_images_is_refused_complete_or_not(project: Project, epochs: int) -> None:
    first = project.sweep(data=project.images("a"))
    project.run(first)
    other = project.sweep(data=project.images("b", seed=1), epochs=epochs)
    assert list(other.by_id) == list(first.by_id)
    before = files(project)
    shipped: list[str] = []
    with pytest.raises(ChangedInputsError) as refused:
        project.run(other, on_manifest=lambda: shipped.append("started"), accept_changed_code=True)
    stored = only_trial(project, first).read(1).data_digest[:12]
    (trial_id,) = first.by_id
    line = rf"changed: trial {trial_id}: the data in {project.folder}/b was {stored}, is (?!{stored})[0-9a-f]{{12}}\n"
    assert re.search(line, str(refused.value))
    assert "data changed: restore it, or use another --storage" in str(refused.value)
    assert (files(project), shipped) == (before, [])
    manifest, _ = project.storage.sweep("night").read_manifest()
    assert manifest.trials == first.trials, "the manifest still names the folder behind the numbers"
    for command in ("plan", "status"):
        assert re.search(line, project.show(command))


def test_the_same_images_elsewhere_are_the_same_data(project: Project) -> None:
    project.run(project.sweep(data=project.images("a")))
    moved = project.sweep(data=project.images("b"), epochs=2)
    assert project.run(moved).summary == "night: 1 of 1 trials done"
    assert "changed" not in project.show("status")


def test_status_does_not_decode_images(project: Project) -> None:
    project.run(project.sweep(data=project.images("a")))
    project.sweep(data=project.images("b", seed=1))
    said = project.show("status")
    assert f"data not compared: image_folder: 32 images in {project.folder}/b, not decoded yet" in said
    assert "changed: trial" in project.show("plan")
    assert "changed: trial" in project.show("status")


OWN_DATA = """
import torch

def load(offset: float = {offset}):
    inputs = torch.arange(60.0)[:, None] + offset
    return inputs, torch.arange(60) % 3, inputs[:9], torch.arange(9) % 3
"""


def test_data_of_a_function_in_the_working_folder_is_compared(project: Project) -> None:
    project.write(iddata=OWN_DATA.format(offset=0.0))
    trial = {"data": {"name": "iddata:load"}, "model": {"name": "mlp", "hidden": [3]}}
    # The folder is found, although no earlier command of this process added it.
    sys.path.remove(str(project.folder))
    project.run(project.sweep(**trial))
    sys.path.remove(str(project.folder))
    sys.modules.pop("iddata")
    plan = reconcile(project.sweep(**trial), project.storage)
    assert compare_inputs(plan, project.storage, decode=True).lines == []
    assert compare_inputs(plan, project.storage, decode=False).lines == [
        "data not compared: iddata:load was not called; run and plan call it and compare its data"
    ]
    project.write(iddata=OWN_DATA.format(offset=1.0))
    assert "the data in iddata:load was" in compare_inputs(plan, project.storage, decode=True).lines[0]


def test_missing_images_of_a_complete_trial_are_reported(project: Project) -> None:
    project.run(project.sweep(data=project.images("a")))
    gone = project.sweep(data={"name": "image_folder", "path": str(project.folder / "gone")})
    with pytest.raises(ChangedInputsError, match=r"nothing was started: data folder '.*/gone' does not exist"):
        project.run(gone)
    assert "data not compared: data folder" in project.show("plan")


@pytest.mark.parametrize("epochs", [1, 2])
@pytest.mark.parametrize("edit", [{"idnets": GELU}, {"idnet_parts": "width = 5\n"}])
def test_a_trial_of_other_code_is_refused_complete_or_not(project: Project, epochs: int, edit: dict[str, str]) -> None:
    first = project.sweep(model=OWN)
    project.run(first)
    stored = only_trial(project, first).attempts()[-1].provenance.own_code
    before = files(project)
    project.write(**edit)
    other = project.sweep(model=OWN, epochs=epochs)
    with pytest.raises(ChangedInputsError) as refused:
        project.run(other)
    (module,), (trial_id,) = edit, first.by_id
    line = rf"changed: trial {trial_id}: {module} was {stored[module][:12]}, is [0-9a-f]{{12}}\n"
    assert re.search(line, str(refused.value))
    assert "another --storage, or keep the stored records with run --accept-changed-code" in str(refused.value)
    assert files(project) == before
    for command in ("plan", "status"):
        assert re.search(line, project.show(command))


def test_accepted_code_is_recorded_and_not_refused_again(project: Project) -> None:
    first = project.sweep(model=OWN)
    project.run(first)
    trial = only_trial(project, first)
    old = recorded_code(trial)
    project.write(idnets=GELU)
    epochs = [trial.read(epoch) for epoch in trial.numbers()]
    project.run(first, accept_changed_code=True)
    assert [trial.read(epoch) for epoch in trial.numbers()] == epochs
    assert trial.attempts()[-1].provenance.accepted_code == {"idnets": old["idnets"]}
    assert project.run(first).summary == "night: 1 of 1 trials done"
    project.write(idnets=GELU.replace("GELU", "Tanh"))
    longer = project.sweep(model=OWN, epochs=2)
    assert project.run(longer, accept_changed_code=True).summary == "night: 1 of 1 trials done"
    last = trial.attempts()[-1]
    assert (last.first_record, list(last.provenance.accepted_code)) == (2, ["idnets"])
    assert project.run(longer).todo == []
    assert "changed" not in project.show("status")


def test_code_that_an_early_version_did_not_record_is_accepted_and_then_recorded(project: Project) -> None:
    desired = project.sweep(model=OWN)
    project.run(desired)
    trial = only_trial(project, desired)
    (file,) = (project.folder / "results" / "trials").glob("*/attempts/*")
    code = recorded_code(trial)
    file.write_text(re.sub(r'"own_code": \{[^}]*\}', '"own_code": {}', file.read_text()))
    assert recorded_code(trial) == {}
    project.run(desired)
    assert (recorded_code(trial), trial.attempts()[-1].provenance.accepted_code) == (code, {})
    before = files(project)
    project.run(desired)
    assert files(project) == before
    project.write(idnets=GELU)
    with pytest.raises(ChangedInputsError):
        project.run(desired)


def test_measuring_checkpoints_of_other_code_is_refused_unless_accepted(project: Project) -> None:
    desired = project.sweep(model=OWN)
    project.run(desired)
    project.write(idnets=GELU)
    change = read_change(["measurement.fraction=0.1"], desired)

    def measure(accept: bool) -> int:
        options = RunOptions("local", accept_changed_code=accept)
        return remeasure_sweep(desired, project.storage, Console(file=io.StringIO()), change, 1, options).measured

    with pytest.raises(ChangedInputsError, match="idnets was"):
        measure(accept=False)
    assert measure(accept=True) == 2
    with pytest.raises(ChangedInputsError):
        project.run(desired)
    made = only_trial(project, desired).remeasurements.read(change.label, 1).provenance
    assert list(made.accepted_code) == ["idnets"]
    assert (project.folder / "results" / "provenance" / f"code-{made.own_code['idnets']}").read_text() == GELU


def test_code_edited_during_a_run_is_not_trained(project: Project, messages: pytest.LogCaptureFixture) -> None:
    """The first trial's process may die, and a new process would import the edited file."""
    desired = project.sweep(seeds=2, model=OWN)
    assert project.run(desired).todo == []
    longer = project.sweep(seeds=2, model=OWN, epochs=2)
    assert project.run(longer, before_trials=lambda: project.write(idnets=GELU)).missing_records == 2
    assert any("idnets differs from what the driver imported" in message for message in messages.messages)


def test_many_changes_are_counted(project: Project) -> None:
    desired = project.sweep(seeds=MOST_CHANGES + 2, model=OWN, epochs=1)
    project.run(desired)
    project.write(idnets=GELU)
    lines = compare_inputs(reconcile(desired, project.storage), project.storage, decode=False).lines
    assert len(lines) == MOST_CHANGES + 2
    assert lines[-2] == "changed: 2 more"
