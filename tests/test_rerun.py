"""Rerunning a trial: it is bit-identical, or the difference and its reasons are reported."""

import hashlib
import io
import json
import re
import sys
from collections.abc import Sized
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.rerun import line, rerun
from orchestrator.store.provenance import attachments
from orchestrator.store.storage import Storage
from orchestrator.study.quantities.quantity import is_reproducible
from orchestrator.study.record import Record
from orchestrator.study.sweep import Resources
from orchestrator.trial import TrialOptions, run_trial
from tests.training.trials import small_trial

ONE_CPU = Resources(cpu=1)
SGD = small_trial(epochs=2)
MLP = {"name": "mlp", "hidden": [20], "dropout": 0.1, "batch_norm": True}
OWN = {"name": "tests.training.user_nets:Plain"}
OTHERS = [
    small_trial(epochs=2, model=model, optimizer={"name": name, "lr": 0.001}, augmentation={"flip": True})
    for model, name in [(MLP, "adam"), (MLP, "adamw"), (MLP, "adagrad"), (MLP, "rmsprop"), (OWN, "adam")]
]
COSINE = small_trial(epochs=4, model=MLP, schedule={"name": "cosine", "warmup_epochs": 1})


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    storage = Storage(tmp_path_factory.mktemp("stored"))
    for config in (SGD, *OTHERS):
        run_trial(config, storage.trial(config.trial_id), TrialOptions(ONE_CPU))
    unfinished = storage.trial(COSINE.trial_id)
    run_trial(COSINE, unfinished, TrialOptions(ONE_CPU, until=2))
    return storage


def again(config, stored: Storage | None, scratch: Path) -> tuple[bool, str]:  # type: ignore[no-untyped-def]
    said = io.StringIO()
    same = rerun(config, Storage(scratch), TrialOptions(ONE_CPU), Console(file=said, width=200), stored)
    return same, said.getvalue()


@pytest.mark.parametrize("config", [SGD, *OTHERS], ids=lambda c: f"{c.model.name} {c.optimizer.name}")
def test_a_rerun_is_bit_identical(config, stored: Storage, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    same, said = again(config, stored, tmp_path)
    assert same
    count = sum(
        len(values) if isinstance(values, Sized) else 1
        for record in stored.trial(config.trial_id).records()
        for key, values in {**record.metrics(), **record.vectors()}.items()
        if is_reproducible(key)
    )
    assert f"identical: all {count} numbers of epochs 0 to 2, bit for bit" in said


def test_all_stored_epochs_are_compared_whatever_the_config(stored: Storage, tmp_path: Path) -> None:
    same, said = again(small_trial(epochs=9), stored, tmp_path)
    assert same
    assert "epochs 0 to 2" in said


def test_rerun_of_an_unfinished_trial_keeps_its_cosine_schedule(stored: Storage, tmp_path: Path) -> None:
    same, said = again(COSINE, stored, tmp_path)
    assert same, said
    assert "of epochs 0 to 2, bit for bit" in said
    assert Storage(tmp_path).trial(COSINE.trial_id).numbers() == [0, 1, 2]
    # With fewer epochs the cosine schedule would be different.
    short = COSINE.model_copy(update={"epochs": 2})
    run_trial(short, Storage(tmp_path / "short").trial(short.trial_id), TrialOptions(ONE_CPU))
    ours = Storage(tmp_path / "short").trial(short.trial_id).read(2).record
    assert ours.differences(stored.trial(COSINE.trial_id).read(2).record)


def test_a_difference_is_reported_with_its_reasons(stored: Storage, tmp_path: Path) -> None:
    other = Storage(tmp_path / "other")
    run_trial(SGD, other.trial(SGD.trial_id), TrialOptions(ONE_CPU))
    folder = other.root / "trials" / SGD.trial_id
    commit = folder / "epochs" / "00001.json"
    content = json.loads(commit.read_text())
    content["record"]["hessian_trace"] = 12.5
    del content["digest"]  # with a digest, the change would be detected as damage
    commit.write_text(json.dumps(content))
    (attempt,) = (folder / "attempts").iterdir()
    attempt.write_text(attempt.read_text().replace('"device": "cpu"', '"device": "NVIDIA H100"'))
    same, said = again(SGD, other, tmp_path / "scratch")
    assert not same
    assert "1 of 3 epochs differ, the first is epoch 1" in said
    assert re.search(r"hessian/trace +1 +[\d,]+|hessian/trace +1 +> 1e9", said)
    assert "device: here cpu, stored NVIDIA H100" in said


def test_a_different_number_of_threads_is_reported_as_the_reason(tmp_path: Path) -> None:
    """The first epochs were computed by two threads, the last one by one; a rerun uses as many as the last."""
    config = small_trial(epochs=2, model={"name": "tests.training.user_nets:Threaded"})
    mixed = Storage(tmp_path / "mixed").trial(config.trial_id)
    run_trial(config, mixed, TrialOptions(Resources(cpu=2), until=1))
    run_trial(config, mixed, TrialOptions(ONE_CPU))
    same, said = again(config, Storage(tmp_path / "mixed"), tmp_path / "scratch")
    assert not same
    (reason,) = [text for text in said.splitlines() if text.startswith("  1. ")]
    assert reason == "  1. threads: here 1, stored 2"
    assert "  2. " not in said


def test_changed_user_code_is_reported_as_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "from torch import nn\n\n\nclass Net(nn.Sequential):\n    def __init__(self, classes):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, classes))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "nets_of_mine.py").write_text(code)
    config = small_trial(epochs=1, model={"name": "nets_of_mine:Net"})
    storage = Storage(tmp_path / "stored")
    run_trial(config, storage.trial(config.trial_id), TrialOptions(ONE_CPU))
    monkeypatch.delitem(sys.modules, "nets_of_mine")
    assert again(config, storage, tmp_path / "as-it-was")[0]
    changed = code.replace(
        "ReLU", "Sigmoid"
    )  # of another length, since Python detects changes of source files by time and size
    (tmp_path / "nets_of_mine.py").write_text(changed)
    monkeypatch.delitem(sys.modules, "nets_of_mine")
    same, said = again(config, storage, tmp_path / "scratch")
    assert not same
    old, new = (hashlib.sha256(text.encode()).hexdigest() for text in (code, changed))
    assert f"  1. your code nets_of_mine: here {new[:12]}, stored {old[:12]}" in said
    assert "  2. " not in said
    assert attachments.read(storage.files, attachments.OWN_CODE, old) == code
    made = storage.trial(config.trial_id).attempts()[-1].provenance
    assert made.own_code == {"nets_of_mine": old}


def test_comparing_without_stored_epochs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no stored records to compare with; run the sweep first"):
        again(SGD, Storage(tmp_path / "empty"), tmp_path / "scratch")


def test_an_epoch_is_formatted_as_one_line() -> None:
    record = Record(number=3, timestamp_ms=0, loss_train=0.27134, accuracy_validation=0.915, hessian_trace=233.4)
    assert line(record) == "epoch   3  loss 0.2713  validation 0.915  trace 233.4"
