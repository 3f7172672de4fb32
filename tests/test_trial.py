"""Where the loop meets the store: a trial goes on from where it stands, whatever happened to it."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.store.errors import StorageError
from orchestrator.store.ownership.claims import Owner, SupersededError
from orchestrator.store.ownership.lease import Lease
from orchestrator.store.storage import Storage
from orchestrator.store.trial import TrialStore
from orchestrator.store.trial_status import State
from orchestrator.study.config import TrialConfig
from orchestrator.study.data_config import ImageFolderData
from orchestrator.study.record import EpochRecord
from orchestrator.study.sweep import Resources, Sweep
from orchestrator.training.data.cache import CACHE_VARIABLE
from orchestrator.training.data.datasets import load_data
from orchestrator.training.data.images import DataError
from orchestrator.training.models.user_code import ModelCodeError
from orchestrator.trial import check_models, note_images, run_trial
from tests.training.folders import make_folder, write_image
from tests.training.trials import small_trial

ONE_CPU = Resources(cpu=1)
CONFIG = small_trial(epochs=3)


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> TrialStore:
    """The trial as nothing disturbed it."""
    store = Storage(tmp_path_factory.mktemp("twin")).trial(CONFIG.trial_id)
    assert run_trial(CONFIG, store, ONE_CPU) is State.COMPLETED
    return store


@pytest.fixture
def store(tmp_path: Path) -> TrialStore:
    return Storage(tmp_path).trial(CONFIG.trial_id)


def assert_equal(ours: TrialStore, twin: TrialStore) -> None:
    assert ours.epochs() == twin.epochs()
    for epoch in twin.epochs():
        assert ours.read(epoch).record.differences(twin.read(epoch).record) == {}
    ours_last, twin_last = ours.latest_checkpoint(), twin.latest_checkpoint()
    assert ours_last is not None
    assert twin_last is not None
    assert ours_last.content == twin_last.content


def stop_after(epochs: int) -> Any:
    calls = iter(range(100))
    return lambda: next(calls) >= epochs


def checkpoints(store: TrialStore) -> list[Path]:
    return sorted((store._files.root / "trials" / store.trial_id / "checkpoints").iterdir())


def test_a_whole_trial(twin: TrialStore) -> None:
    assert twin.epochs() == [0, 1, 2, 3]
    (attempt,) = twin.attempts()
    assert (attempt.ended, attempt.first_epoch) == ("completed", 0)
    assert attempt.environment["threads"] == 1
    assert attempt.provenance.packages["torch"]
    assert len(checkpoints(twin)) == 2


def test_checkpoints_to_keep_stay_and_change_no_number(store: TrialStore, twin: TrialStore) -> None:
    run_trial(small_trial(epochs=2), store, ONE_CPU, keeps=lambda epoch: epoch % 2 == 0)
    assert [path.name[:5] for path in checkpoints(store)] == ["00000", "00001", "00002"]
    run_trial(CONFIG, store, ONE_CPU)  # as a sweep that keeps the last
    assert [path.name[:5] for path in checkpoints(store)] == ["00000", "00002", "00003"]
    assert_equal(store, twin)


def test_where_the_last_two_are_damaged_it_goes_on_from_one_that_was_kept(store: TrialStore, twin: TrialStore) -> None:
    run_trial(CONFIG, store, ONE_CPU, stop_after(3), keeps=lambda epoch: epoch == 0)
    for path in checkpoints(store)[1:]:
        path.unlink()
    seen: list[int] = []
    run_trial(CONFIG, store, ONE_CPU, on_epoch=lambda record: seen.append(record.epoch))
    assert seen == [1, 2, 3]
    assert_equal(store, twin)


def test_interrupted_after_any_epoch_it_goes_on_bit_for_bit(store: TrialStore, twin: TrialStore) -> None:
    for _ in range(3):
        assert run_trial(CONFIG, store, ONE_CPU, stop_after(1)) is State.INTERRUPTED
    assert run_trial(CONFIG, store, ONE_CPU) is State.COMPLETED
    assert_equal(store, twin)
    assert [attempt.first_epoch for attempt in store.attempts()] == [0, 1, 2, 3]
    assert [attempt.ended for attempt in store.attempts()] == ["interrupted"] * 3 + ["completed"]


def test_killed_within_an_epoch_it_goes_on_bit_for_bit(store: TrialStore, twin: TrialStore) -> None:
    def dies(record: EpochRecord) -> None:
        if record.epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_trial(CONFIG, store, ONE_CPU, on_epoch=dies)
    assert store.attempts()[-1].ended == "interrupted"
    run_trial(CONFIG, store, ONE_CPU)
    assert_equal(store, twin)


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
@pytest.mark.parametrize("count", [1, 2])
def test_damaged_checkpoints_are_computed_again_and_records_stay(
    store: TrialStore, twin: TrialStore, damage: str, count: int
) -> None:
    run_trial(CONFIG, store, ONE_CPU, stop_after(3))
    assert store.epochs() == [0, 1, 2]
    before = [store.read(epoch).record for epoch in store.epochs()]
    for path in checkpoints(store)[-count:]:
        content = path.read_bytes()
        if damage == "remove":
            path.unlink()
        else:
            path.write_bytes(content[:-10] if damage == "truncate" else content[:500] + b"x" + content[501:])
    assert run_trial(CONFIG, store, ONE_CPU) is State.COMPLETED
    assert [store.read(epoch).record for epoch in [0, 1, 2]] == before
    assert_equal(store, twin)


def damage(store: TrialStore, epoch: int) -> None:
    path = store._files.root / "trials" / store.trial_id / "epochs" / f"{epoch:05d}.json"
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize("epochs", [[3], [1], [0], [1, 3], [0, 1, 2, 3]])
def test_damaged_epochs_are_computed_again_to_the_same_numbers_and_times(
    store: TrialStore, twin: TrialStore, epochs: list[int]
) -> None:
    run_trial(CONFIG, store, ONE_CPU, keeps=lambda epoch: epoch == 1)
    before = [store.read(epoch).record for epoch in store.epochs()]
    for epoch in epochs:
        damage(store, epoch)
    assert run_trial(CONFIG, store, ONE_CPU) is State.COMPLETED
    after = list(store.records())
    assert_equal(store, twin)
    assert [record.timestamp_ms for record in after] == [record.timestamp_ms for record in before]
    assert store.attempts()[-1].first_epoch == min(epochs)
    assert all(
        ours == theirs for epoch, (ours, theirs) in enumerate(zip(after, before, strict=True)) if epoch not in epochs
    )


def test_a_deleted_epoch_is_computed_again(store: TrialStore, twin: TrialStore) -> None:
    run_trial(CONFIG, store, ONE_CPU)
    (store._files.root / "trials" / store.trial_id / "epochs" / "00001.json").unlink()
    assert run_trial(CONFIG, store, ONE_CPU) is State.COMPLETED
    assert_equal(store, twin)


def test_superseded_it_stops_at_once_and_nothing_has_failed(store: TrialStore, twin: TrialStore) -> None:
    def supersede(record: EpochRecord) -> None:
        if record.epoch == 1:
            TrialStore(store._files, store.trial_id).claim(Owner("toy", 0), "successor")

    with pytest.raises(SupersededError):
        run_trial(CONFIG, store, ONE_CPU, on_epoch=supersede, owner=Owner("toy", 0))
    assert store.epochs() == [0, 1]
    assert [attempt.ended for attempt in store.attempts()] == [None]
    assert run_trial(CONFIG, store, ONE_CPU, owner=Owner("toy", 0)) is State.COMPLETED
    assert_equal(store, twin)
    assert [store.read(epoch).claim for epoch in store.epochs()] == [1, 1, 3, 3]


def test_another_sweeps_living_attempt_is_waited_for_and_gone_on_from(
    tmp_path: Path, store: TrialStore, twin: TrialStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = store._files
    other, scratch = TrialStore(files, store.trial_id), Storage(tmp_path / "scratch").trial(CONFIG.trial_id)
    run_trial(CONFIG, scratch, ONE_CPU, stop_after(1))
    checkpoint = scratch.latest_checkpoint()
    assert checkpoint is not None
    with Lease(files, "sweeps/other", "driver") as lease:
        claim = other.claim(Owner("other", lease.number), twin.attempts()[0].name)
        asked = iter(range(3))
        assert run_trial(CONFIG, store, ONE_CPU, lambda: next(asked) == 2, owner=Owner("toy", 1)) is State.INTERRUPTED
        assert store.attempts() == []

        def waited(seconds: float) -> None:  # meanwhile the other one commits an epoch and ends
            first = scratch.read(0)
            assert other.commit(first.record, checkpoint.content, first.data_digest, claim.attempt)
            other.write_attempt(replace(twin.attempts()[0], ended="interrupted", claim=claim.number))

        monkeypatch.setattr("orchestrator.trial.time.sleep", waited)
        assert run_trial(CONFIG, store, ONE_CPU, owner=Owner("toy", 1)) is State.COMPLETED
    assert_equal(store, twin)
    assert store.read(0).claim == claim.number


def test_a_checkpoint_that_would_run_code_is_refused_and_named(tmp_path: Path, store: TrialStore) -> None:
    class Malicious:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "owned",))

    buffer = io.BytesIO()
    torch.save({"epoch": 0, "model": Malicious()}, buffer)
    run_trial(CONFIG, store, ONE_CPU, stop_after(2))
    last = store.read(1)
    path = store._files.root / "trials" / store.trial_id / "epochs" / "00001.json"
    path.unlink()
    assert store.commit(last.record, buffer.getvalue(), last.data_digest, "evil")
    with pytest.raises(StorageError, match=rf"the checkpoint of epoch 1 of trial {store.trial_id} holds more than"):
        run_trial(CONFIG, store, ONE_CPU)
    assert not (tmp_path / "owned").exists()
    checkpoints(store)[-1].unlink()
    assert run_trial(CONFIG, store, ONE_CPU) is State.COMPLETED


def test_more_epochs_run_only_those(store: TrialStore, twin: TrialStore) -> None:
    run_trial(small_trial(epochs=1), store, ONE_CPU)
    seen: list[int] = []
    run_trial(CONFIG, store, ONE_CPU, on_epoch=lambda record: seen.append(record.epoch))
    assert seen == [2, 3]
    assert_equal(store, twin)


def test_where_another_process_was_first_its_epoch_stays_and_is_gone_on_from(
    store: TrialStore, twin: TrialStore
) -> None:
    def overtaken(record: EpochRecord) -> None:
        if record.epoch == 1:
            other = twin.read(2)
            content = (twin._files.root / "trials" / CONFIG.trial_id / "checkpoints" / other.checkpoint).read_bytes()
            assert store.commit(other.record, content, other.data_digest, "other")

    run_trial(CONFIG, store, ONE_CPU, on_epoch=overtaken)
    assert store.read(2).attempt == "other"
    assert store.read(3).attempt != "other"
    assert_equal(store, twin)


def test_a_diverged_trial_is_a_result_and_not_run_again(tmp_path: Path) -> None:
    config = small_trial(epochs=4, optimizer={"name": "sgd", "lr": 1e12})
    store = Storage(tmp_path).trial(config.trial_id)
    assert run_trial(config, store, ONE_CPU) is State.DIVERGED
    epochs = store.epochs()
    assert epochs[-1] < 4
    assert run_trial(config, store, ONE_CPU) is State.DIVERGED
    assert store.epochs() == epochs


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return make_folder(tmp_path / "images")


def on_images(folder: Path, epochs: int) -> TrialConfig:
    return small_trial(data={"name": "image_folder", "path": str(folder)}, epochs=epochs)


@pytest.mark.parametrize("damaged", [False, True])
def test_going_on_with_other_data_is_refused(tmp_path: Path, images: Path, damaged: bool) -> None:
    store = Storage(tmp_path / "storage").trial(on_images(images, 1).trial_id)
    run_trial(on_images(images, 1), store, ONE_CPU)
    for path in checkpoints(store) if damaged else []:
        path.unlink()
    write_image(images / "train" / "cat" / "000.png", seed=777)
    load_data.cache_clear()
    with pytest.raises(DataError, match=r"was begun on data with digest \w{12}, the data now has \w{12}; restore"):
        run_trial(on_images(images, 2), store, ONE_CPU)
    assert store.epochs() == [0, 1]
    assert store.attempts()[-1].ended == "failed"


def test_the_same_images_elsewhere_are_the_same_data(tmp_path: Path, images: Path) -> None:
    config = on_images(images, 1)
    store = Storage(tmp_path / "storage").trial(config.trial_id)
    run_trial(config, store, ONE_CPU)
    images.rename(tmp_path / "moved")
    moved = on_images(tmp_path / "moved", 2)
    assert isinstance(moved.data, ImageFolderData)
    assert moved.trial_id == config.trial_id
    assert run_trial(moved, store, ONE_CPU) is State.COMPLETED


def test_an_exception_is_noted_with_its_traceback(tmp_path: Path) -> None:
    config = on_images(tmp_path / "nowhere", 1)
    store = Storage(tmp_path / "storage").trial(config.trial_id)
    with pytest.raises(DataError):
        run_trial(config, store, ONE_CPU)
    (attempt,) = store.attempts()
    assert attempt.ended == "failed"
    assert "Traceback" in attempt.reason
    assert "nowhere' does not exist" in attempt.reason


def misfits(*trials: TrialConfig) -> list[str]:
    try:
        check_models(Sweep("mine", "", trials, ONE_CPU))
    except ValueError as error:
        return str(error).split("\n  ")
    return []


def test_models_that_fit_their_data_are_none_of_its_business() -> None:
    models = [{"name": name, "batch_norm": True, "dropout": 0.1} for name in ("cnn", "mlp")]
    assert misfits(*(small_trial(model=model, seed=seed) for model in models for seed in (0, 1))) == []


def test_everything_that_does_not_fit_is_said_at_once() -> None:
    own = {"name": "tests.training.own_nets:Plain", "classes": 3}
    said = misfits(
        small_trial(),
        *(small_trial(model=own, seed=seed) for seed in (0, 1)),
        small_trial(augmentation={"crop": 9}),
        small_trial(model={"name": "cnn", "batch_norm": True}, batch_size=1293),
        small_trial(model={"name": "cnn"}, batch_size=1293),
        small_trial(model={"name": "no_such_place:Net"}),
    )
    assert [line.split(":")[0] for line in said[1:]] == [
        "augmentation.crop is 9, expected less than the size of the images, 8x8",
        "batches of 1293 leave a last batch of 1 of 1294 training images, and model 'cnn' has batch norm, which needs "
        "at least 2 images to normalise over",
        "model 'no_such_place",
    ]
    assert "Plain' gives (2, 3) for 2 images of shape (1, 8, 8); the data has 10 classes" in said[0]


def test_each_model_is_built_on_each_data_set(tmp_path: Path, images: Path) -> None:
    narrow = {"name": "image_folder", "path": str(make_folder(tmp_path / "narrow", size=(3, 8)))}
    said = misfits(small_trial(), on_images(images, 1), small_trial(data=narrow))
    assert said == ["model cnn pools twice and needs images of at least 4x4 pixels, not 3x8"]


def test_a_bug_in_a_network_of_ones_own_is_no_line() -> None:
    with pytest.raises(ModelCodeError, match="no width is good"):
        misfits(small_trial(model={"name": "tests.training.own_nets:Broken", "width": 1}))


def test_images_are_noted_with_a_sweep_once(tmp_path: Path) -> None:
    config = small_trial()
    sweep, store = Sweep("toy", "", (config,), Resources()), Storage(tmp_path).sweep("toy")
    note_images(sweep, store)
    gallery = store.gallery()
    assert gallery is not None
    assert gallery.noise == (0.0, 0.1, 0.25)
    assert gallery.shape == (3, 4, 1, 8, 8)
    assert len(gallery.pixels) == 3 * 4 * 64
    other = replace(gallery, labels=("what", "is", "there", "stays"))
    store.write_gallery(other)
    note_images(sweep, store)
    assert store.gallery() == other
