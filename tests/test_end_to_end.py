"""From a sweep file through Ray to MLflow's database; tests that kill or stop runs are marked slow."""

import os
import re
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from orchestrator.study.record import SCALARS
from tests.scheduling.inline import invoke
from tests.scheduling.processes import LONG
from tests.shared import made_once
from tests.terminal import in_terminal
from tests.working_folder import COMMAND, CONTENT, SLOWER, WorkingFolder, assert_shipped_once

SHOWN_CURSOR = "\x1b[?25h"
CONTROL_SEQUENCE = r"\x1b\[[0-9;?]*[A-Za-z]|\r(?!\n)"
"""Control sequences of a terminal: SHOWN_CURSOR shows the cursor again, the pattern matches all that rich writes."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> WorkingFolder:
    """An undisturbed run of the sweep with Ray."""

    def make(folder: Path) -> None:
        code, output = WorkingFolder(folder).run()
        assert code == 0, output
        assert "e2e: 4 of 4 trials done (1 diverged)" in output
        assert "shipped to sqlite:///" in output
        assert "/runs?compareRunsMode=CHART" in output

    return WorkingFolder(made_once(tmp_path_factory, "finished", make))


@pytest.fixture(scope="module")
def slower(tmp_path_factory: pytest.TempPathFactory) -> WorkingFolder:
    """An undisturbed run of the slower sweep."""

    def make(folder: Path) -> None:
        code, output = WorkingFolder(folder, SLOWER).run("--engine", "local")
        assert code == 0, output

    return WorkingFolder(made_once(tmp_path_factory, "slower", make), SLOWER)


def records(place: WorkingFolder) -> dict[str, list[dict[str, object]]]:
    return {
        trial_id: [record.reproducible() for record in place.storage.trial(trial_id).records()]
        for trial_id in place.sweep.by_id
    }


def assert_same(ours: WorkingFolder, theirs: WorkingFolder) -> None:
    # repr makes NaN equal to NaN, and differs for all other numbers that are not bit-identical.
    assert repr(records(ours)) == repr(records(theirs))


def test_every_trial_has_all_epochs_and_one_mlflow_run(finished: WorkingFolder) -> None:
    epochs = {trial_id: finished.storage.trial(trial_id).numbers() for trial_id in finished.sweep.by_id}
    *trained, diverged = epochs.values()
    assert trained == [[0, 1, 2, 3]] * 3
    assert diverged in ([0, 1], [0, 1, 2])
    assert_shipped_once(finished)


def test_params_tags_and_outcomes_are_in_mlflow(finished: WorkingFolder) -> None:
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
    # A ReLU network has only one trace, because the two are equal. Classes have accuracies instead of R2.
    recorded = {quantity.key for quantity in SCALARS if not quantity.key.startswith("r2/")}
    assert keys == recorded - {"hessian/gauss_newton_trace", "system/gpu_memory_mib"}


def test_raw_samples_are_an_artifact(finished: WorkingFolder) -> None:
    files = list((finished.folder / "mlartifacts").rglob("curvature.json"))
    assert len(files) == 4
    assert any('"algorithm1/rayleigh_quotients": [' in file.read_text() for file in files)


@pytest.mark.slow
def test_a_second_run_does_nothing(finished: WorkingFolder) -> None:
    before = {path: path.stat().st_mtime_ns for path in (finished.folder / "results" / "trials").rglob("*")}
    code, said = finished.run()
    assert code == 0
    assert "nothing left to do" in said
    assert {path: path.stat().st_mtime_ns for path in (finished.folder / "results" / "trials").rglob("*")} == before
    assert_shipped_once(finished)


def test_trials_reproduce_bit_for_bit(finished: WorkingFolder) -> None:
    for trial_id, config in finished.sweep.by_id.items():
        if config.seed == 0:
            code, said = invoke(finished.folder, "trial", "./e2e.yaml", trial_id, "--compare")
            assert code == 0, said
            assert "bit for bit" in said


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ray", "local"])
def test_a_killed_driver_loses_nothing(slower: WorkingFolder, tmp_path: Path, engine: str) -> None:
    place = WorkingFolder(tmp_path, SLOWER)
    process = place.start("--engine", engine)
    place.wait_for_epochs(3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    code, said = place.run("--engine", engine)
    assert code == 0, said
    assert_same(place, slower)
    assert_shipped_once(place)


@pytest.mark.slow
def test_ctrl_c_finishes_the_epoch_and_a_rerun_continues(slower: WorkingFolder, tmp_path: Path) -> None:
    place = WorkingFolder(tmp_path, SLOWER)
    process = place.start()
    place.wait_for_epochs(3)
    code, refused = place.run()
    assert code == 2
    assert f"e2e: another driver is running: process {process.pid} on " in refused
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "Stopping after the next records; nothing is lost." in said
    assert "Stopped on request. Run the same command again to continue." in said
    assert {attempt.ended for attempt in attempts(place)} <= {"interrupted", "completed", "diverged"}
    assert place.query("select count(*) from runs where status = 'RUNNING'") == [(0,)]
    code, said = place.run()
    assert code == 0, said
    assert_same(place, slower)
    assert_shipped_once(place)


def attempts(place: WorkingFolder) -> list[object]:
    return [attempt for trial_id in place.sweep.by_id for attempt in place.storage.trial(trial_id).attempts()]


@pytest.mark.slow
def test_a_terminal_shows_a_table_until_ctrl_c(tmp_path: Path) -> None:
    """At the end the table is erased and the cursor shown, and all messages are whole."""
    WorkingFolder(tmp_path, LONG)
    code, written = in_terminal([COMMAND, "run", "./e2e.yaml", "--engine", "local"], tmp_path, b"lambda_max")
    assert code == 1, written
    assert "Stopping after the next records; nothing is lost. Press Ctrl-C again to stop at once.\r\n" in written
    table, _, after = written.rpartition(SHOWN_CURSOR)
    assert "lambda_max" in table
    first, second, *_ = re.sub(CONTROL_SEQUENCE, "", after).splitlines()
    assert first == "Stopped on request. Run the same command again to continue."
    assert second.startswith("e2e: 0 of 2 trials done, ")


@pytest.mark.slow
def test_adding_seeds_and_epochs_computes_only_the_missing_ones(tmp_path: Path) -> None:
    place = WorkingFolder(tmp_path, {**CONTENT, "grid": {"seed": [0]}})
    assert place.run("--engine", "local")[0] == 0
    place.write({**CONTENT, "grid": {"seed": [0, 1]}, "trial": {**CONTENT["trial"], "epochs": 4}})  # type: ignore[dict-item]
    assert place.run("--engine", "local")[0] == 0
    begun = [
        [attempt.first_record for attempt in place.storage.trial(trial_id).attempts()] for trial_id in place.sweep.by_id
    ]
    assert begun == [[0, 4], [0]]
    assert_shipped_once(place)


@pytest.mark.slow
def test_an_unreachable_tracker_does_not_stop_training(tmp_path: Path) -> None:
    place = WorkingFolder(tmp_path, {**CONTENT, "grid": {"seed": [0]}})
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
