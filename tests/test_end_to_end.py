"""From a sweep file through Ray to MLflow's database; tests that kill or stop runs are marked slow."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml

from orchestrator.store.storage import Storage
from orchestrator.study.record import SCALARS
from orchestrator.study.sweep import Sweep, load_sweep
from tests.scheduling.inline import invoke
from tests.shared import made_once

COMMAND = str(Path(sys.executable).with_name("hessian-dynamics"))
CONTENT = {
    "name": "e2e",
    "description": "Four trials of three epochs.",
    "trial": {
        "data": {"name": "digits"},
        "model": {"name": "mlp", "hidden": [20, 10]},
        "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9},
        "epochs": 3,
        "measurement": {"fraction": 0.05, "algorithm1_every": 2},
    },
    "grid": [
        {"seed": [0, 1]},
        {"optimizer": [{"name": "adam", "lr": 0.001}], "seed": [0]},
        {"optimizer": [{"name": "sgd", "lr": 1.0e12}]},
    ],
}
SLOWER = {
    **CONTENT,
    "description": "Four trials of eight epochs.",
    "trial": {**CONTENT["trial"], "model": {"name": "cnn"}, "epochs": 8},  # type: ignore[dict-item]
}
"""For tests that disturb a sweep while it runs."""


class Place:
    """A user's working folder."""

    def __init__(self, folder: Path, content: dict[str, object] = CONTENT) -> None:
        self.folder = folder
        self.write(content)

    def write(self, content: dict[str, object]) -> None:
        (self.folder / "e2e.yaml").write_text(yaml.safe_dump(content))

    @property
    def sweep(self) -> Sweep:
        return load_sweep(str(self.folder / "e2e.yaml"))

    @property
    def storage(self) -> Storage:
        return Storage(self.folder / "results")

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        # In-process tests of Ray leave settings in the environment.
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "TUNE_", "MLFLOW_"))}
        kept["RAY_worker_niceness"] = "0"  # as in conftest.py
        return subprocess.Popen(
            [COMMAND, "run", "./e2e.yaml", *arguments],
            cwd=self.folder,
            env=kept,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, *arguments: str) -> tuple[int, str]:
        process = self.start(*arguments)
        said, _ = process.communicate(timeout=300)
        return process.returncode, said

    def query(self, statement: str) -> list[tuple[object, ...]]:
        with sqlite3.connect(self.folder / "mlflow.db") as database:
            return database.execute(statement).fetchall()

    def wait_for_epochs(self, count: int) -> None:
        deadline = time.monotonic() + 300
        while sum(len(self.storage.trial(trial_id).epochs()) for trial_id in self.sweep.by_id) < count:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """An undisturbed run of the sweep with Ray."""

    def make(folder: Path) -> None:
        code, output = Place(folder).run()
        assert code == 0, output
        assert "e2e: 4 of 4 trials done (1 diverged)" in output
        assert "shipped to sqlite:///" in output
        assert "/runs?compareRunsMode=CHART" in output

    return Place(made_once(tmp_path_factory, "finished", make))


@pytest.fixture(scope="module")
def slower(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """An undisturbed run of the slower sweep."""

    def make(folder: Path) -> None:
        code, output = Place(folder, SLOWER).run("--engine", "local")
        assert code == 0, output

    return Place(made_once(tmp_path_factory, "slower", make), SLOWER)


def records(place: Place) -> dict[str, list[dict[str, object]]]:
    return {
        trial_id: [record.reproducible() for record in place.storage.trial(trial_id).records()]
        for trial_id in place.sweep.by_id
    }


def assert_same(ours: Place, theirs: Place) -> None:
    # repr makes NaN equal to NaN, and differs for all other numbers that are not bit-identical.
    assert repr(records(ours)) == repr(records(theirs))


def assert_shipped_once(place: Place) -> None:
    """Checks one run per trial, and one point per key and epoch with the time of the record."""
    runs = dict(place.query("select value, run_uuid from tags where key = 'trial_id'"))
    assert sorted(runs) == sorted(place.sweep.by_id)
    assert len(place.query("select run_uuid from runs where lifecycle_stage = 'active'")) == len(runs) + 1
    for trial_id, run in runs.items():
        points = place.query(f"select key, step, timestamp from metrics where run_uuid = '{run}'")
        expected = [
            (key, record.epoch, record.timestamp_ms)
            for record in place.storage.trial(trial_id).records()
            for key in record.metrics()
        ]
        assert sorted(points) == sorted(expected)
    assert place.query("select count(*) from runs where status in ('RUNNING', 'SCHEDULED')") == [(0,)]


def test_every_trial_has_all_epochs_and_one_mlflow_run(finished: Place) -> None:
    epochs = {trial_id: finished.storage.trial(trial_id).epochs() for trial_id in finished.sweep.by_id}
    *trained, diverged = epochs.values()
    assert trained == [[0, 1, 2, 3]] * 3
    assert diverged in ([0, 1], [0, 1, 2])
    assert_shipped_once(finished)


def test_params_tags_and_outcomes_are_in_mlflow(finished: Place) -> None:
    params = {(key, value) for key, value in finished.query("select key, value from params")}
    assert {("optimizer.lr", "0.001"), ("optimizer.name", "adam"), ("batch_size", "64"), ("seed", "1")} <= params
    outcomes = Counter(value for (value,) in finished.query("select value from tags where key = 'outcome'"))
    assert outcomes == {"completed": 4, "diverged": 1}  # three trials and the sweep; one trial
    (digest,) = {value for (value,) in finished.query("select value from tags where key = 'data_digest'")}
    last = finished.storage.trial(next(iter(finished.sweep.by_id))).read(3)
    assert digest == last.data_digest
    statuses = Counter(status for (status,) in finished.query("select status from runs"))
    assert statuses == {"FINISHED": 5}
    trials = "select run_uuid from tags where key = 'trial_id'"
    sources = finished.query(f"select value from tags where key = 'mlflow.source.name' and run_uuid in ({trials})")
    assert all(str(source).startswith("hessian-dynamics run ./e2e.yaml") for (source,) in sources)
    assert len(sources) == 4
    keys = {key for (key,) in finished.query("select distinct key from metrics")}
    # A ReLU network has only one trace, because the two are equal.
    assert keys == {quantity.key for quantity in SCALARS} - {"hessian/gauss_newton_trace"}


def test_raw_samples_are_an_artifact(finished: Place) -> None:
    files = list((finished.folder / "mlartifacts").rglob("curvature.json"))
    assert len(files) == 4
    assert any('"algorithm1/rayleigh_quotients": [' in file.read_text() for file in files)


@pytest.mark.slow
def test_a_second_run_does_nothing(finished: Place) -> None:
    before = {path: path.stat().st_mtime_ns for path in (finished.folder / "results" / "trials").rglob("*")}
    code, said = finished.run()
    assert code == 0
    assert "nothing left to do" in said
    assert {path: path.stat().st_mtime_ns for path in (finished.folder / "results" / "trials").rglob("*")} == before
    assert_shipped_once(finished)


def test_trials_reproduce_bit_for_bit(finished: Place) -> None:
    for trial_id, config in finished.sweep.by_id.items():
        if config.seed == 0:
            code, said = invoke(finished.folder, "trial", "./e2e.yaml", trial_id, "--compare")
            assert code == 0, said
            assert "bit for bit" in said


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ray", "local"])
def test_a_killed_driver_loses_nothing(slower: Place, tmp_path: Path, engine: str) -> None:
    place = Place(tmp_path, SLOWER)
    process = place.start("--engine", engine)
    place.wait_for_epochs(3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    code, said = place.run("--engine", engine)
    assert code == 0, said
    assert_same(place, slower)
    assert_shipped_once(place)


@pytest.mark.slow
def test_ctrl_c_finishes_the_epoch_and_a_rerun_continues(slower: Place, tmp_path: Path) -> None:
    place = Place(tmp_path, SLOWER)
    process = place.start()
    place.wait_for_epochs(3)
    code, refused = place.run()
    assert code == 2
    assert f"e2e: another driver is running: process {process.pid} on " in refused
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "Stopping after the current epochs; nothing is lost." in said
    assert "Stopped on request. Run the same command again to continue." in said
    assert {attempt.ended for attempt in attempts(place)} <= {"interrupted", "completed", "diverged"}
    assert place.query("select count(*) from runs where status = 'RUNNING'") == [(0,)]
    code, said = place.run()
    assert code == 0, said
    assert_same(place, slower)
    assert_shipped_once(place)


def attempts(place: Place) -> list[object]:
    return [attempt for trial_id in place.sweep.by_id for attempt in place.storage.trial(trial_id).attempts()]


@pytest.mark.slow
def test_adding_seeds_and_epochs_computes_only_the_missing_ones(tmp_path: Path) -> None:
    place = Place(tmp_path, {**CONTENT, "grid": {"seed": [0]}})
    assert place.run("--engine", "local")[0] == 0
    place.write({**CONTENT, "grid": {"seed": [0, 1]}, "trial": {**CONTENT["trial"], "epochs": 4}})  # type: ignore[dict-item]
    assert place.run("--engine", "local")[0] == 0
    begun = [
        [attempt.first_epoch for attempt in place.storage.trial(trial_id).attempts()] for trial_id in place.sweep.by_id
    ]
    assert begun == [[0, 4], [0]]
    assert_shipped_once(place)


@pytest.mark.slow
def test_an_unreachable_tracker_does_not_stop_training(tmp_path: Path) -> None:
    place = Place(tmp_path, {**CONTENT, "grid": {"seed": [0]}})
    code, said = place.run("--engine", "local", "--tracking-uri", "http://127.0.0.1:9")
    assert code == 0, said
    assert "e2e: 1 of 1 trials done" in said
    assert "cannot be reached" in said
    status = place.storage.sweep("e2e").shipper_status()
    assert status is not None
    assert status.state == "unreachable"
    os.kill(status.pid, signal.SIGTERM)  # it would keep trying for a minute
    shipped = subprocess.run(
        [COMMAND, "ship", "e2e", "--tracking-uri", "sqlite:///mlflow.db"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert shipped.returncode == 0, shipped.stdout + shipped.stderr
    assert_shipped_once(place)
