"""`doctor --cluster` and `run` report a node that fails the check before anything is scheduled."""

import pytest

from orchestrator.store.storage import Storage
from orchestrator.study.sweep import load_sweep
from tests.cluster.cluster import COMMIT, Cluster
from tests.cluster.conftest import STRAY_COMMIT
from tests.cluster.containers import Container
from tests.cluster.observed import say, sweep_file, until

pytestmark = pytest.mark.cluster

_COMMIT = f"versions: commit {STRAY_COMMIT}, expected {COMMIT} as on the driver"
_STORAGE = "storage: /mnt/results is not the driver's storage"


def test_doctor_reports_a_failing_node_and_run_stops(cluster: Cluster, finished: Container, stray: Container) -> None:
    stray.start()
    cluster.wait_healthy(stray)
    doctor = cluster.make("doctor")
    doctor.start()
    assert doctor.wait(180) == 1, doctor.output
    lines = [" ".join(line.split()) for line in doctor.output.splitlines()]
    for said in (_COMMIT, _STORAGE):
        assert [line for line in lines if line.startswith("problem node stray") and said in line], doctor.output
    for worker in ("worker-1", "worker-2"):
        [line] = [line for line in lines if line.startswith(f"ok node {worker} ")]
        assert "the driver's storage, writable" in line
        say(line)

    file = sweep_file(cluster.volume("results"), "unfit", epochs="1", seed="[9]")
    command = [word if word != "quickstart" else "/mnt/results/unfit.yaml" for word in finished.service.command]
    sweep = cluster.make("sweep", "sweep-unfit", command)
    sweep.start()
    code = sweep.wait(180)
    sweep.end()
    assert code == 2, sweep.output
    assert "nothing was scheduled, because nodes of the cluster are unfit:" in sweep.output
    assert _COMMIT in sweep.output
    assert _STORAGE in sweep.output
    trials = [Storage(cluster.volume("results")).trial(trial.trial_id) for trial in load_sweep(str(file)).trials]
    assert not any(trial.attempts() for trial in trials)
    stray.end()

    def fit() -> bool:
        doctor.log.write_text("")
        doctor.start()
        return doctor.wait(180) == 0

    until(fit, 120, "the doctor finds nothing once the stray worker is gone")
