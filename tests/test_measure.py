"""`measure`: kept checkpoints are measured again and shipped to a real tracker's database."""

import importlib
import sqlite3
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.scheduling.driver import run_sweep
from orchestrator.scheduling.options import RunOptions
from orchestrator.store.storage import Storage
from orchestrator.study.sweep import Sweep, load_sweep
from tests.cli.command import SMALL, write
from tests.scheduling.inline import invoke, use_inline_engine

CONTENT = {
    **SMALL,
    "trial": {**SMALL["trial"], "epochs": 4, "model": {"name": "mlp", "hidden": [20]}},  # type: ignore[dict-item]
    "keep_checkpoints": "every 2",
}


class Place:
    """A user's working folder, with a sweep that was run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sweep: Sweep = load_sweep(write(folder, CONTENT))
        self.storage = Storage(folder / "results")

    def invoke(self, *arguments: str) -> tuple[int, str]:
        return invoke(self.folder, *arguments)

    def points(self, label: str) -> list[tuple[str, str, int, int, float]]:
        """Returns (trial, key, epoch, timestamp, value) of the points that the tracker shows under a label."""
        with sqlite3.connect(self.folder / "mlflow.db") as database:
            return database.execute(
                "select tags.value, metrics.key, step, timestamp, metrics.value from metrics join tags "
                "on tags.run_uuid = metrics.run_uuid and tags.key = 'trial_id' where metrics.key like ? || '/%'",
                [label],
            ).fetchall()

    def stored(self, label: str) -> list[tuple[str, str, int, int, float]]:
        return [
            (trial_id, f"{label}/{key}", record.epoch, record.timestamp_ms, value)
            for trial_id in self.sweep.by_id
            for record in self.storage.trial(trial_id).remeasurements.records(label, 99)
            for key, value in record.metrics().items()
        ]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    here = Place(tmp_path_factory.mktemp("place"))
    with pytest.MonkeyPatch.context() as patch:
        use_inline_engine(patch)
        result = run_sweep(here.sweep, here.storage, Console(quiet=True), RunOptions("local"))
    assert not result.todo
    return here


@pytest.fixture(autouse=True)
def _inline(monkeypatch: pytest.MonkeyPatch) -> None:
    use_inline_engine(monkeypatch)


def test_a_run_keeps_the_checkpoints_selected_by_its_sweep(place: Place) -> None:
    for trial_id in place.sweep.by_id:
        kept = [commit.record.epoch for commit in place.storage.trial(trial_id).with_checkpoint(99)]
        assert kept == [0, 2, 3, 4]


@pytest.mark.parametrize(("engine", "products"), [("local", 3), pytest.param("ray", 4, marks=pytest.mark.slow)])
def test_both_engines_measure_and_ship(place: Place, engine: str, products: int) -> None:
    if engine == "ray":
        importlib.import_module("ray")  # as in a notebook that uses Ray itself
    label = f"lanczos_products-{products}"
    setting = f"measurement.lanczos_products={products}"
    code, said = place.invoke("measure", "small", "--set", setting, "--every", "2", "--engine", engine)
    assert code == 0, said
    assert f"measured 6 checkpoints of 2 trials as {label}/...; 0 failed" in said
    assert "6 measurements from checkpoints shipped to sqlite:///" in said
    assert "curves: make ui, then http://127.0.0.1:5000/#/experiments/" in said
    assert sorted(place.points(label)) == sorted(place.stored(label)) != []
    for trial_id in place.sweep.by_id:
        trial = place.storage.trial(trial_id)
        for record in trial.remeasurements.records(label, 99):
            assert record.lanczos_history[:2] == trial.read(record.epoch).record.lanczos_history
            assert record.algorithm1_trace_samples == trial.read(record.epoch).record.algorithm1_trace_samples
    assert f"measured again: {label}: 6 checkpoints of 2 trials" in place.invoke("status", "small")[1]


def test_repeating_measure_does_nothing_and_a_path_selects_the_sweep(place: Place) -> None:
    before = place.stored("lanczos_products-3")
    arguments = ("--set", "measurement.lanczos_products=3", "--every", "2", "--engine", "local")
    code, said = place.invoke("measure", "./small.yaml", *arguments)
    assert code == 0
    assert "nothing left to measure" in said
    assert "measured 6 checkpoints of 2 trials as lanczos_products-3/...; 0 failed" in said
    assert place.stored("lanczos_products-3") == before
    assert sorted(place.points("lanczos_products-3")) == sorted(before)


def test_failure_has_exit_code_1_and_an_unreachable_tracker_stops_nothing(place: Place) -> None:
    trial_id = next(iter(place.sweep.by_id))
    trial = place.storage.trial(trial_id)
    path = place.storage.root / "trials" / trial_id / "checkpoints" / trial.read(2).checkpoint
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    arguments = ("--set", "measurement.lanczos_products=1", "--engine", "local", "--tracking-uri", "http://127.0.0.1:9")
    code, said = place.invoke("measure", "small", *arguments)
    path.write_bytes(content)
    assert code == 1
    assert f"failed: {trial_id} (seed=0): orchestrator.store.errors.StorageError: checkpoint {path} is damaged" in said
    assert "measured 7 checkpoints of 2 trials as lanczos_products-1/...; 1 failed; 1 checkpoint still to" in said
    assert "once that is fixed: hessian-dynamics ship small --storage" in said
    assert place.points("lanczos_products-1") == []
    assert place.invoke("ship", "small")[0] == 0
    assert sorted(place.points("lanczos_products-1")) == sorted(place.stored("lanczos_products-1")) != []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no --set: sweep 'small' would measure the same again"),
        (["--set", "seed=1"], "only measurement.KEY=VALUE and resources.KEY=VALUE can be set here"),
        (["--set", "measurement.fraction=2"], "measurement.fraction = 2: must be less than or equal to 1"),
    ],
)
def test_invalid_changes_are_refused_before_measuring(place: Place, arguments: list[str], said: str) -> None:
    before = sorted(place.folder.rglob("*"))
    code, shown = place.invoke("measure", "small", *arguments)
    assert code == 2
    assert said in shown
    assert "Traceback" not in shown
    assert sorted(place.folder.rglob("*")) == before


def test_an_adopted_trial_keeps_the_checkpoints_selected_by_its_sweep(tmp_path: Path) -> None:
    here = Place(tmp_path)
    first = next(iter(here.sweep.by_id))
    assert here.invoke("trial", "./small.yaml", first, "--adopt")[0] == 0
    assert [commit.record.epoch for commit in here.storage.trial(first).with_checkpoint(99)] == [0, 2, 3, 4]
