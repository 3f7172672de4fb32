"""Remeasuring from checkpoints: unchanged settings give bit-identical results, changed ones new results."""

from pathlib import Path

import pytest

from orchestrator.remeasure import RemeasureOptions, remeasure
from orchestrator.store.errors import StorageError
from orchestrator.store.storage import Storage
from orchestrator.store.trial import TrialStore
from orchestrator.study.config import MeasurementConfig
from orchestrator.study.quantities.catalogue import estimators_named
from orchestrator.study.record import Record
from orchestrator.study.sweep import Resources
from orchestrator.training.data.cache.decoded_copy import CACHE_VARIABLE
from orchestrator.training.data.datasets import load_data
from orchestrator.training.data.samples import DataError
from orchestrator.training.environment import reproducible
from orchestrator.training.loop import train
from orchestrator.trial import TrialOptions, run_trial
from tests.training.folders import make_folder, write_image
from tests.training.trials import CPU, digits, small_trial

ONE_CPU = Resources(cpu=1)
LABEL = "again"
MLP = {"name": "mlp", "hidden": [20]}
CONFIGS = [
    small_trial(epochs=4, model=MLP),
    small_trial(epochs=4, model=MLP, optimizer={"name": "adam", "lr": 0.001}, seed=3),
]


def changed(config_fraction: float = 0.05, **changes: object) -> MeasurementConfig:
    """Returns the measurement of the trials with changed values, as `measure` would."""
    return CONFIGS[0].measurement.model_copy(update={"fraction": config_fraction, "algorithm1_every": 1, **changes})


@pytest.fixture(scope="module", params=CONFIGS, ids=["sgd", "adam"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    config = request.param
    store = Storage(tmp_path_factory.mktemp("trained")).trial(config.trial_id)
    run_trial(config, store, TrialOptions(ONE_CPU, keeps=lambda epoch: epoch % 2 == 0))
    return config, store


def again(trained, label: str, measurement: MeasurementConfig, **options: object) -> list[Record]:  # type: ignore[no-untyped-def]
    config, store = trained
    remeasure(config, store, RemeasureOptions(measurement, label, ONE_CPU, **options))
    return list(store.remeasurements.records(label, 99))


def test_kept_checkpoints_and_the_last_two_are_measured(trained) -> None:  # type: ignore[no-untyped-def]
    assert [record.epoch for record in again(trained, "which", changed(lanczos_products=1))] == [0, 2, 3, 4]
    assert [record.epoch for record in again(trained, "some", changed(lanczos_products=1), every=2)] == [0, 2, 4]


def test_an_unchanged_estimator_gives_bit_identical_results(trained) -> None:  # type: ignore[no-untyped-def]
    _, store = trained
    for record in again(trained, "products", changed(lanczos_products=5)):
        stored = store.read(record.epoch).record
        # The start vector is the same, so the first products are too.
        assert len(record.lanczos_history) == 5
        assert record.lanczos_history[:3] == stored.lanczos_history
        differing = {f"hessian/lambda_{end}" for end in ("max", "max_residual", "min", "min_residual")} | {
            "lanczos/history"
        }
        not_measured = {key for key in stored.metrics() if key.startswith(("loss/", "accuracy/"))}
        not_measured -= {"loss/test", "loss/ood"}  # not compared with records that lack them
        assert set(record.differences(stored)) == differing | not_measured | {"hessian/products"}
        assert record.algorithm1_trace_samples == stored.algorithm1_trace_samples != ()
        assert record.algorithm1_rayleigh_quotients == stored.algorithm1_rayleigh_quotients != ()


def test_unchanged_settings_give_bit_identical_results(trained) -> None:  # type: ignore[no-untyped-def]
    _, store = trained
    for record in again(trained, "same", changed()):
        differences = record.differences(store.read(record.epoch).record)
        assert all(key.startswith(("loss/", "accuracy/")) for key in differences), differences


def test_result_equals_that_of_a_trial_trained_with_these_settings(trained, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Measuring does not affect training, so a trial with this measurement is an oracle for the new fraction."""
    config, _ = trained
    measurement = changed(0.3, estimators=estimators_named("lanczos"), lanczos_products=4)
    twin = config.model_copy(update={"measurement": measurement})
    records = {record.epoch: record for record in again(trained, "fraction", measurement)}
    with reproducible(1):
        for trained_epoch in train(twin, digits(), CPU):
            if record := records.pop(trained_epoch.record.epoch, None):
                differences = record.differences(trained_epoch.record)
                assert all(key.startswith(("loss/", "accuracy/")) for key in differences), differences
                assert record.algorithm1_trace is None
    assert not records


def test_every_estimator_runs_on_every_measured_epoch(tmp_path: Path) -> None:
    own = {"fraction": 0.05, "lanczos_products": 2, "algorithm1_every": 3, "algorithm1_iterations": 2}
    config = small_trial(epochs=2, measurement=own)
    store = Storage(tmp_path).trial(config.trial_id)
    run_trial(config, store, TrialOptions(ONE_CPU))
    assert store.read(2).record.algorithm1_trace is None
    remeasure(config, store, RemeasureOptions(changed(algorithm1_probes=3), LABEL, ONE_CPU))
    assert all(record.algorithm1_trace is not None for record in store.remeasurements.records(LABEL, 2))


def test_provenance_is_stored(trained) -> None:  # type: ignore[no-untyped-def]
    _, store = trained
    measurement = changed(lanczos_products=2, estimators=estimators_named("lanczos"))
    again(trained, "origin", measurement)
    measured, commit = store.remeasurements.read("origin", 2), store.read(2)
    assert measured.measurement == measurement
    assert (measured.checkpoint_digest, measured.data_digest) == (commit.checkpoint_digest, commit.data_digest)
    assert measured.environment == store.attempts()[0].environment
    assert measured.provenance.packages["torch"]
    assert measured.record.timestamp_ms > commit.record.timestamp_ms
    assert measured.record.loss_train is None
    assert {key.partition("/")[0] for key in measured.record.metrics()} == {"hessian", "gradient", "time"}


def test_measured_epochs_are_not_measured_again(trained) -> None:  # type: ignore[no-untyped-def]
    first = again(trained, "once", changed(lanczos_products=2), every=4)
    both = again(trained, "once", changed(lanczos_products=2))
    assert [record.epoch for record in both] == [0, 2, 3, 4]
    assert [record for record in both if record.epoch % 4 == 0] == first  # including timestamps
    assert again(trained, "once", changed(lanczos_products=2)) == both


def test_a_stop_request_ends_after_a_checkpoint_and_a_rerun_continues(trained) -> None:  # type: ignore[no-untyped-def]
    calls = iter([False, False, True])
    stopped = again(trained, "stop", changed(lanczos_products=2), stop_requested=lambda: next(calls))
    assert [record.epoch for record in stopped] == [0, 2]
    assert [record.epoch for record in again(trained, "stop", changed(lanczos_products=2))] == [0, 2, 3, 4]


def path_of(store: TrialStore, epoch: int) -> Path:
    return store._files.root / "trials" / store.trial_id / "checkpoints" / store.read(epoch).checkpoint


def test_a_damaged_checkpoint_is_reported_after_measuring_all_others(tmp_path: Path) -> None:
    config = CONFIGS[0]
    store = Storage(tmp_path).trial(config.trial_id)
    run_trial(config, store, TrialOptions(ONE_CPU, keeps=lambda epoch: epoch == 1))
    content = bytearray(path_of(store, 3).read_bytes())
    content[1000] ^= 1
    path_of(store, 3).write_bytes(content)
    with pytest.raises(StorageError, match=r"checkpoint .*/00003-\S+ is damaged: its digest .*; delete it to resume"):
        remeasure(config, store, RemeasureOptions(changed(lanczos_products=1), LABEL, ONE_CPU))
    assert store.remeasurements.numbers(LABEL) == [1, 4]
    path_of(store, 3).unlink()
    remeasure(config, store, RemeasureOptions(changed(lanczos_products=1), LABEL, ONE_CPU))
    assert store.remeasurements.numbers(LABEL) == [1, 4]


def test_a_checkpoint_deleted_meanwhile_is_skipped(tmp_path: Path) -> None:
    config = CONFIGS[0]
    store = Storage(tmp_path).trial(config.trial_id)
    run_trial(config, store, TrialOptions(ONE_CPU))

    def other_trains_on() -> bool:
        path_of(store, 3).unlink(missing_ok=True)
        return False

    remeasure(
        config, store, RemeasureOptions(changed(lanczos_products=1), LABEL, ONE_CPU, stop_requested=other_trains_on)
    )
    assert store.remeasurements.numbers(LABEL) == [4]


def test_changed_data_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    images = make_folder(tmp_path / "images")
    config = small_trial(data={"name": "image_folder", "path": str(images)}, epochs=1)
    store = Storage(tmp_path / "storage").trial(config.trial_id)
    run_trial(config, store, TrialOptions(ONE_CPU))
    write_image(images / "train" / "cat" / "000.png", seed=777)
    load_data.cache_clear()
    with pytest.raises(DataError, match=r"was begun on data with digest \w{12}, the data now has \w{12}; restore"):
        remeasure(config, store, RemeasureOptions(changed(lanczos_products=1), LABEL, ONE_CPU))
    assert store.remeasurements.labels() == []


def test_a_diverged_epoch_is_skipped(tmp_path: Path) -> None:
    config = small_trial(epochs=4, model=MLP, optimizer={"name": "sgd", "lr": 1e12})
    store = Storage(tmp_path).trial(config.trial_id)
    run_trial(config, store, TrialOptions(ONE_CPU, keeps=lambda epoch: True))
    remeasure(config, store, RemeasureOptions(changed(lanczos_products=1), LABEL, ONE_CPU))
    assert store.remeasurements.numbers(LABEL) == store.numbers()[:-1]


def test_torch_settings_of_the_process_are_restored(trained) -> None:  # type: ignore[no-untyped-def]
    import torch

    threads, random = torch.get_num_threads(), torch.get_rng_state()
    again(trained, "settings", changed(lanczos_products=2, estimators=estimators_named("lanczos")))
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), random)


def test_the_loss_and_the_optimizer_are_those_of_the_trial(tmp_path: Path) -> None:
    estimators = ["lanczos", "stability"]
    settings = {"fraction": 0.05, "lanczos_products": 3, "estimators": estimators}
    adam = {"name": "adam", "lr": 0.001}
    config = small_trial(epochs=1, model=MLP, loss={"name": "mse"}, optimizer=adam, measurement=settings)
    store = Storage(tmp_path).trial(config.trial_id)
    run_trial(config, store, TrialOptions(ONE_CPU))
    remeasure(config, store, RemeasureOptions(config.measurement, LABEL, ONE_CPU))
    for number in (0, 1):
        trained, again = store.read(number).record, store.remeasurements.read(LABEL, number).record
        assert again.metrics()["stability/sharpness"] == trained.metrics()["stability/sharpness"]
        assert {
            key for key, pair in again.differences(trained).items() if not key.startswith(("loss/", "accuracy/"))
        } == set()
