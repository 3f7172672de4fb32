"""A trial continues from its last epoch after any interruption or damage."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from estimators import dense_hessian
from orchestrator.store.errors import StorageError
from orchestrator.store.ownership.claims import Owner, SupersededError
from orchestrator.store.ownership.lease import Lease
from orchestrator.store.storage import Storage
from orchestrator.store.trial import TrialStore
from orchestrator.store.trial_status import State, trial_status
from orchestrator.study.config import TrialConfig
from orchestrator.study.parts.data_config import ImageFolderData
from orchestrator.study.record import Record
from orchestrator.study.sweep import Resources
from orchestrator.training.checkpoint import load_model
from orchestrator.training.data.cache.decoded_copy import CACHE_VARIABLE
from orchestrator.training.data.datasets import load_data
from orchestrator.training.data.samples import DataError
from orchestrator.trial import MissingGpuError, TrialOptions, device_of, run_trial
from tests.training.folders import make_folder, write_image
from tests.training.trials import small_trial

ONE_CPU = Resources(cpu=1)
MLP = {"name": "mlp", "hidden": [20]}
CONFIG = small_trial(epochs=3, model=MLP)


def run(config: TrialConfig, store: TrialStore, *options: Any, **more: Any) -> State:
    return run_trial(config, store, TrialOptions(ONE_CPU, *options, **more))


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> TrialStore:
    """An undisturbed run of the trial."""
    store = Storage(tmp_path_factory.mktemp("twin")).trial(CONFIG.trial_id)
    assert run(CONFIG, store) is State.COMPLETED
    return store


@pytest.fixture
def store(tmp_path: Path) -> TrialStore:
    return Storage(tmp_path).trial(CONFIG.trial_id)


def assert_equal(ours: TrialStore, twin: TrialStore) -> None:
    assert ours.numbers() == twin.numbers()
    for epoch in twin.numbers():
        assert ours.read(epoch).record.differences(twin.read(epoch).record) == {}
    ours_last, twin_last = ours.latest_checkpoint(), twin.latest_checkpoint()
    assert ours_last is not None
    assert twin_last is not None
    assert ours_last.content == twin_last.content


@pytest.mark.skipif(torch.cuda.is_available(), reason="tests a machine without a GPU")
def test_a_missing_gpu_is_an_error(store: TrialStore) -> None:
    with pytest.raises(MissingGpuError, match="the trial requests gpu: 0.5, but torch finds no GPU on .*gpu=0"):
        run_trial(CONFIG, store, TrialOptions(Resources(gpu=0.5)))
    assert store.attempts() == []
    assert device_of(Resources(gpu=0.0)) == torch.device("cpu")


def stop_after(epochs: int) -> Any:
    calls = iter(range(100))
    return lambda: next(calls) >= epochs


def checkpoints(store: TrialStore) -> list[Path]:
    return sorted((store._files.root / "trials" / store.trial_id / "checkpoints").iterdir())


def test_a_complete_trial(twin: TrialStore) -> None:
    assert twin.numbers() == [0, 1, 2, 3]
    (attempt,) = twin.attempts()
    assert (attempt.ended, attempt.first_record) == ("completed", 0)
    assert attempt.environment["threads"] == 1
    assert attempt.provenance.packages["torch"]
    assert attempt.data["train_samples"] == len(load_data(CONFIG.data, torch.device("cpu")).train)
    assert len(checkpoints(twin)) == 2


def test_kept_checkpoints_do_not_change_results(store: TrialStore, twin: TrialStore) -> None:
    run(small_trial(epochs=2, model=MLP), store, keeps=lambda epoch: epoch % 2 == 0)
    assert [path.name[:5] for path in checkpoints(store)] == ["00000", "00001", "00002"]
    run(CONFIG, store)  # as a sweep that keeps the last
    assert [path.name[:5] for path in checkpoints(store)] == ["00000", "00002", "00003"]
    assert_equal(store, twin)


def test_training_continues_from_a_kept_checkpoint_if_the_last_two_are_damaged(
    store: TrialStore, twin: TrialStore
) -> None:
    run(CONFIG, store, stop_after(3), keeps=lambda epoch: epoch == 0)
    for path in checkpoints(store)[1:]:
        path.unlink()
    seen: list[int] = []
    run(CONFIG, store, on_record=lambda record: seen.append(record.epoch))
    assert seen == [1, 2, 3]
    assert_equal(store, twin)


def test_a_trial_interrupted_after_any_epoch_continues_bit_for_bit(store: TrialStore, twin: TrialStore) -> None:
    for _ in range(3):
        assert run(CONFIG, store, stop_after(1)) is State.INTERRUPTED
    assert run(CONFIG, store) is State.COMPLETED
    assert_equal(store, twin)
    assert [attempt.first_record for attempt in store.attempts()] == [0, 1, 2, 3]
    assert [attempt.ended for attempt in store.attempts()] == ["interrupted"] * 3 + ["completed"]


def test_a_trial_killed_within_an_epoch_continues_bit_for_bit(store: TrialStore, twin: TrialStore) -> None:
    def dies(record: Record) -> None:
        if record.epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(CONFIG, store, on_record=dies)
    assert store.attempts()[-1].ended == "interrupted"
    run(CONFIG, store)
    assert_equal(store, twin)


STEPS = small_trial(epochs=None, steps=50, record_every="8 steps", model={**MLP, "dropout": 0.2})
"""An epoch of the digits has 21 steps."""


def test_a_trial_interrupted_inside_epochs_continues_bit_for_bit(tmp_path: Path) -> None:
    whole, parts = (Storage(tmp_path / name).trial(STEPS.trial_id) for name in ("whole", "parts"))
    assert run(STEPS, whole) is State.COMPLETED
    assert [whole.read(number).record.step for number in whole.numbers()] == [0, 8, 16, 24, 32, 40, 48, 50]
    for _ in range(7):
        assert run(STEPS, parts, stop_after(1)) is State.INTERRUPTED
    assert trial_status(parts, STEPS).missing_records == 1
    assert run(STEPS, parts) is State.COMPLETED
    assert_equal(parts, whole)


def test_a_trial_is_complete_at_its_threshold(tmp_path: Path) -> None:
    config = small_trial(epochs=9, model=MLP, stop={"accuracy/train": 0.5})
    store = Storage(tmp_path).trial(config.trial_id)
    assert run(config, store, stop_after(1)) is State.INTERRUPTED
    assert run(config, store) is State.COMPLETED
    *earlier, last = store.records()
    assert last.number < 9
    assert last.accuracy_train >= 0.5 > max(record.accuracy_train for record in earlier)
    status = trial_status(store, config)
    assert (status.state, status.number, status.missing_records) == (State.COMPLETED, last.number, 0)
    assert run(config, store) is State.COMPLETED
    assert store.numbers() == list(range(last.number + 1))


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
@pytest.mark.parametrize("count", [1, 2])
def test_damaged_checkpoints_are_computed_again_and_records_stay(
    store: TrialStore, twin: TrialStore, damage: str, count: int
) -> None:
    run(CONFIG, store, stop_after(3))
    assert store.numbers() == [0, 1, 2]
    before = [store.read(epoch).record for epoch in store.numbers()]
    for path in checkpoints(store)[-count:]:
        content = path.read_bytes()
        if damage == "remove":
            path.unlink()
        else:
            path.write_bytes(content[:-10] if damage == "truncate" else content[:500] + b"x" + content[501:])
    assert run(CONFIG, store) is State.COMPLETED
    assert [store.read(epoch).record for epoch in [0, 1, 2]] == before
    assert_equal(store, twin)


def damage(store: TrialStore, epoch: int) -> None:
    path = store._files.root / "trials" / store.trial_id / "epochs" / f"{epoch:05d}.json"
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize("epochs", [[3], [1], [0], [1, 3], [0, 1, 2, 3]])
def test_damaged_epochs_are_computed_again_to_the_same_numbers_and_times(
    store: TrialStore, twin: TrialStore, epochs: list[int]
) -> None:
    run(CONFIG, store, keeps=lambda epoch: epoch == 1)
    before = [store.read(epoch).record for epoch in store.numbers()]
    for epoch in epochs:
        damage(store, epoch)
    assert run(CONFIG, store) is State.COMPLETED
    after = list(store.records())
    assert_equal(store, twin)
    assert [record.timestamp_ms for record in after] == [record.timestamp_ms for record in before]
    assert store.attempts()[-1].first_record == min(epochs)
    assert all(
        ours == theirs for epoch, (ours, theirs) in enumerate(zip(after, before, strict=True)) if epoch not in epochs
    )


def test_a_deleted_epoch_is_computed_again(store: TrialStore, twin: TrialStore) -> None:
    run(CONFIG, store)
    (store._files.root / "trials" / store.trial_id / "epochs" / "00001.json").unlink()
    assert run(CONFIG, store) is State.COMPLETED
    assert_equal(store, twin)


def test_a_superseded_attempt_stops_without_failing(store: TrialStore, twin: TrialStore) -> None:
    def supersede(record: Record) -> None:
        if record.epoch == 1:
            TrialStore(store._files, store.trial_id).claim(Owner("toy", 0), "successor")

    with pytest.raises(SupersededError):
        run(CONFIG, store, on_record=supersede, owner=Owner("toy", 0))
    assert store.numbers() == [0, 1]
    assert [attempt.ended for attempt in store.attempts()] == [None]
    assert run(CONFIG, store, owner=Owner("toy", 0)) is State.COMPLETED
    assert_equal(store, twin)
    assert [store.read(epoch).claim for epoch in store.numbers()] == [1, 1, 3, 3]


def test_a_trial_waits_for_another_sweeps_attempt_and_continues_from_it(
    tmp_path: Path, store: TrialStore, twin: TrialStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = store._files
    other, scratch = TrialStore(files, store.trial_id), Storage(tmp_path / "scratch").trial(CONFIG.trial_id)
    run(CONFIG, scratch, stop_after(1))
    checkpoint = scratch.latest_checkpoint()
    assert checkpoint is not None
    with Lease(files, "sweeps/other", "driver") as lease:
        claim = other.claim(Owner("other", lease.number), twin.attempts()[0].name)
        asked = iter(range(3))
        assert run(CONFIG, store, lambda: next(asked) == 2, owner=Owner("toy", 1)) is State.INTERRUPTED
        assert store.attempts() == []

        def waited(seconds: float) -> None:  # meanwhile the other attempt commits an epoch and ends
            first = scratch.read(0)
            assert other.commit(first.record, checkpoint.content, first.data_digest, claim.attempt)
            other.write_attempt(replace(twin.attempts()[0], ended="interrupted", claim=claim.number))

        monkeypatch.setattr("orchestrator.trial.time.sleep", waited)
        assert run(CONFIG, store, owner=Owner("toy", 1)) is State.COMPLETED
    assert_equal(store, twin)
    assert store.read(0).claim == claim.number


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path, store: TrialStore) -> None:
    class Malicious:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "owned",))

    buffer = io.BytesIO()
    torch.save({"epoch": 0, "model": Malicious()}, buffer)
    run(CONFIG, store, stop_after(2))
    last = store.read(1)
    path = store._files.root / "trials" / store.trial_id / "epochs" / "00001.json"
    path.unlink()
    assert store.commit(last.record, buffer.getvalue(), last.data_digest, "evil")
    with pytest.raises(StorageError, match=rf"the checkpoint of record 1 of trial {store.trial_id} contains objects"):
        run(CONFIG, store)
    assert not (tmp_path / "owned").exists()
    checkpoints(store)[-1].unlink()
    assert run(CONFIG, store) is State.COMPLETED


def test_adding_epochs_computes_only_the_missing_ones(store: TrialStore, twin: TrialStore) -> None:
    run(small_trial(epochs=1, model=MLP), store)
    seen: list[int] = []
    run(CONFIG, store, on_record=lambda record: seen.append(record.epoch))
    assert seen == [2, 3]
    assert_equal(store, twin)


def test_training_continues_from_an_epoch_that_another_process_committed(store: TrialStore, twin: TrialStore) -> None:
    def overtaken(record: Record) -> None:
        if record.epoch == 1:
            other = twin.read(2)
            content = (twin._files.root / "trials" / CONFIG.trial_id / "checkpoints" / other.checkpoint).read_bytes()
            assert store.commit(other.record, content, other.data_digest, "other")

    run(CONFIG, store, on_record=overtaken)
    assert store.read(2).attempt == "other"
    assert store.read(3).attempt != "other"
    assert_equal(store, twin)


def test_a_diverged_trial_is_not_run_again(tmp_path: Path) -> None:
    config = small_trial(epochs=4, model=MLP, optimizer={"name": "sgd", "lr": 1e12})
    store = Storage(tmp_path).trial(config.trial_id)
    assert run(config, store) is State.DIVERGED
    epochs = store.numbers()
    assert epochs[-1] < 4
    assert run(config, store) is State.DIVERGED
    assert store.numbers() == epochs


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return make_folder(tmp_path / "images")


def on_images(folder: Path, epochs: int) -> TrialConfig:
    return small_trial(data={"name": "image_folder", "path": str(folder)}, epochs=epochs)


@pytest.mark.parametrize("damaged", [False, True])
def test_continuing_with_changed_data_is_refused(tmp_path: Path, images: Path, damaged: bool) -> None:
    store = Storage(tmp_path / "storage").trial(on_images(images, 1).trial_id)
    run(on_images(images, 1), store)
    for path in checkpoints(store) if damaged else []:
        path.unlink()
    write_image(images / "train" / "cat" / "000.png", seed=777)
    load_data.cache_clear()
    with pytest.raises(DataError, match=r"was begun on data with digest \w{12}, the data now has \w{12}; restore"):
        run(on_images(images, 2), store)
    assert store.numbers() == [0, 1]
    assert store.attempts()[-1].ended == "failed"


def test_the_same_images_in_another_folder_are_the_same_data(tmp_path: Path, images: Path) -> None:
    config = on_images(images, 1)
    store = Storage(tmp_path / "storage").trial(config.trial_id)
    run(config, store)
    images.rename(tmp_path / "moved")
    moved = on_images(tmp_path / "moved", 2)
    assert isinstance(moved.data, ImageFolderData)
    assert moved.trial_id == config.trial_id
    assert run(moved, store) is State.COMPLETED


def test_an_exception_is_stored_with_its_traceback(tmp_path: Path) -> None:
    config = on_images(tmp_path / "nowhere", 1)
    store = Storage(tmp_path / "storage").trial(config.trial_id)
    with pytest.raises(DataError):
        run(config, store)
    (attempt,) = store.attempts()
    assert attempt.ended == "failed"
    assert "Traceback" in attempt.reason
    assert "nowhere' does not exist" in attempt.reason


@pytest.mark.parametrize("name", ["lstm", "transformer"])
def test_curvature_of_a_sequence_classifier_is_that_of_the_dense_hessian(tmp_path: Path, name: str) -> None:
    sizes = {"heads": 2} if name == "transformer" else {}
    config = small_trial(
        data={"name": "tests.training.user_data:sequences"},
        model={"name": name, "width": 4, "depth": 1, **sizes},
        optimizer={"name": "adam", "lr": 0.01},
        epochs=1,
        measurement={"fraction": 1.0, "estimators": ["lanczos", "exact_trace"]},
    )
    store = Storage(tmp_path).trial(config.trial_id)
    assert run(config, store) is State.COMPLETED
    record, checkpoint = store.read(1).record, store.latest_checkpoint()
    assert checkpoint is not None
    data = load_data(config.data, torch.device("cpu"))
    model = load_model(config, data, torch.device("cpu"), checkpoint.content).double().eval()
    hessian = dense_hessian(model, cross_entropy, data.measurement_subset(1.0))
    largest, trace = float(torch.linalg.eigvalsh(hessian)[-1]), float(hessian.trace())
    assert record.hessian_lambda_max is not None
    assert record.hessian_lambda_max_residual is not None
    assert record.hessian_lambda_max == pytest.approx(largest, abs=record.hessian_lambda_max_residual + 1e-4 * largest)
    assert record.hessian_lambda_max_residual < 0.05 * largest
    assert record.hessian_trace is not None
    assert record.hessian_trace_standard_error is not None
    assert abs(record.hessian_trace - trace) < 4 * record.hessian_trace_standard_error + 1e-4 * abs(trace)
