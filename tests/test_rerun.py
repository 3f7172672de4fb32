"""One trial again: equal bit for bit, or what differs and why."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.rerun import line, rerun
from orchestrator.store.layout import Storage
from orchestrator.study.record import EpochRecord
from orchestrator.study.sweep import Resources
from orchestrator.trial import run_trial
from tests.training.trials import small_trial

ONE_CPU = Resources(cpu=1)
SGD = small_trial(epochs=2)
MLP = {"name": "mlp", "hidden": [20], "dropout": 0.1, "batch_norm": True}
OWN = {"name": "tests.training.own_nets:Plain"}
OTHERS = [
    small_trial(epochs=2, model=model, optimizer={"name": name, "lr": 0.001}, augmentation={"flip": True})
    for model, name in [(MLP, "adam"), (MLP, "adamw"), (MLP, "adagrad"), (MLP, "rmsprop"), (OWN, "adam")]
]
COSINE = small_trial(epochs=4, model=MLP, schedule={"name": "cosine", "warmup_epochs": 1})


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    storage = Storage(tmp_path_factory.mktemp("stored"))
    for config in (SGD, *OTHERS):
        run_trial(config, storage.trial(config.trial_id), ONE_CPU)
    unfinished = storage.trial(COSINE.trial_id)
    run_trial(COSINE, unfinished, ONE_CPU, lambda: unfinished.epochs() == [0, 1, 2])
    return storage


def again(config, stored: Storage | None, scratch: Path) -> tuple[bool, str]:  # type: ignore[no-untyped-def]
    said = io.StringIO()
    same = rerun(config, ONE_CPU, Storage(scratch), stored, Console(file=said, width=200))
    return same, said.getvalue()


@pytest.mark.parametrize("config", [SGD, *OTHERS], ids=lambda c: f"{c.model.name} {c.optimizer.name}")
def test_every_number_is_the_same(config, stored: Storage, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    same, said = again(config, stored, tmp_path)
    assert same
    count = sum(
        len([key for key in record.metrics() if not key.startswith("time/")]) + sum(map(len, record.vectors().values()))
        for record in stored.trial(config.trial_id).records()
    )
    assert f"identical: all {count} numbers of epochs 0 to 2, bit for bit" in said


def test_the_stored_epochs_are_compared_however_many_the_file_asks_for(stored: Storage, tmp_path: Path) -> None:
    same, said = again(small_trial(epochs=9), stored, tmp_path)
    assert same
    assert "epochs 0 to 2" in said


def test_an_unfinished_trial_whose_schedule_stretches_over_its_epochs_keeps_them(
    stored: Storage, tmp_path: Path
) -> None:
    same, said = again(COSINE, stored, tmp_path)
    assert same, said
    assert "of epochs 0 to 2, bit for bit" in said
    assert Storage(tmp_path).trial(COSINE.trial_id).epochs() == [0, 1, 2]
    # With fewer epochs the cosine would have been another.
    short = COSINE.model_copy(update={"epochs": 2})
    run_trial(short, Storage(tmp_path / "short").trial(short.trial_id), ONE_CPU)
    ours = Storage(tmp_path / "short").trial(short.trial_id).read(2).record
    assert ours.differences(stored.trial(COSINE.trial_id).read(2).record)


def test_a_difference_is_named_with_its_reasons(stored: Storage, tmp_path: Path) -> None:
    other = Storage(tmp_path / "other")
    run_trial(SGD, other.trial(SGD.trial_id), ONE_CPU)
    folder = other.root / "trials" / SGD.trial_id
    commit = folder / "epochs" / "00001.json"
    content = json.loads(commit.read_text())
    content["record"]["hessian_trace"] = 12.5
    commit.write_text(json.dumps(content))
    (attempt,) = (folder / "attempts").iterdir()
    attempt.write_text(attempt.read_text().replace('"device": "cpu"', '"device": "NVIDIA H100"'))
    same, said = again(SGD, other, tmp_path / "scratch")
    assert not same
    assert "1 of 3 epochs differ, first epoch 1" in said
    assert "hessian/trace: here" in said
    assert "stored 12.5" in said
    assert "device: here cpu, stored NVIDIA H100" in said


def test_nothing_to_compare_with_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no stored epochs to compare with; run the sweep first"):
        again(SGD, Storage(tmp_path / "empty"), tmp_path / "scratch")


def test_an_epoch_in_a_line() -> None:
    record = EpochRecord(epoch=3, timestamp_ms=0, loss_train=0.27134, accuracy_validation=0.915, hessian_trace=233.4)
    assert line(record) == "epoch   3  loss 0.2713  validation 0.915  trace 233.4"
