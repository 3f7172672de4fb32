"""A sweep under faults computes every trial once and ships every point once. A second start computes nothing."""

import re
import time
from collections import Counter

import pytest

from orchestrator.scheduling.plan import reconcile
from orchestrator.store.storage import Storage
from orchestrator.study.sweep import load_sweep
from tests.cluster.cluster import COMMIT, Cluster
from tests.cluster.conftest import STRAY_COMMIT
from tests.cluster.containers import Container
from tests.cluster.observed import EPOCHS, attempts_made, known, say, stored_objects, sweep_file, tracked, until

pytestmark = pytest.mark.cluster


def test_every_trial_is_computed_once(cluster: Cluster, finished: Container) -> None:
    storage = Storage(cluster.volume("results"))
    plan = reconcile(load_sweep("quickstart"), storage)
    assert not plan.todo, plan.summary
    for trial in load_sweep("quickstart").trials:
        assert storage.trial(trial.trial_id).numbers() == list(range(EPOCHS))
    attempts = [a for trial in load_sweep("quickstart").trials for a in storage.trial(trial.trial_id).attempts()]
    assert {attempt.provenance.commit for attempt in attempts} == {COMMIT}
    hosts = Counter(attempt.provenance.host for attempt in attempts)
    say(f"attempts by node: {dict(hosts)}")
    assert set(hosts) == {"worker-1", "worker-2"}, "a worker with another commit computed trials"
    assert f"node stray: commit {STRAY_COMMIT}, expected {COMMIT} as on the driver" in finished.output
    assert sum(hosts.values()) > 12, "nothing was interrupted, so nothing was shown"
    assert re.search(r"on worker-1: \d running, \d+ ended; worker-2: \d running, \d+ ended", finished.output)
    assert "2 nodes, 2 CPUs, 0 GPUs: 2 trials at a time (1 CPU each)" in finished.output


def test_mlflow_has_every_point_once_in_postgresql(cluster: Cluster, finished: Container) -> None:
    until(lambda: tracked(cluster)["points"] == 12 * EPOCHS, 90, f"all points: {tracked(cluster)}")
    assert tracked(cluster) == {"runs": 13, "finished": 13, "points": 12 * EPOCHS, "steps": 12 * EPOCHS}


def test_artifacts_are_in_s3(cluster: Cluster, finished: Container) -> None:
    experiment, _ = known(cluster)
    keys = [key for key in stored_objects(cluster) if key.startswith(f"{experiment}/")]
    assert sum(key.endswith("curvature.json") for key in keys) == 12, keys


def test_a_second_start_computes_nothing(cluster: Cluster, finished: Container) -> None:
    before, attempts, objects = tracked(cluster), attempts_made(cluster), stored_objects(cluster)
    finished.log.write_text("")
    finished.start()
    assert finished.wait(180) == 0
    say("the second start has ended")
    assert "nothing left to do" in finished.output
    assert attempts_made(cluster) == attempts
    assert tracked(cluster) == before
    assert stored_objects(cluster) == objects


def test_stopping_the_sweep_service_lets_trials_finish_their_epoch(cluster: Cluster, finished: Container) -> None:
    file = sweep_file(cluster.volume("results"), "long", epochs="400", seed="[7]")
    command = [word if word != "quickstart" else "/mnt/results/long.yaml" for word in finished.service.command]
    sweep = cluster.make("sweep", "sweep-long", command)
    sweep.start()
    trials = [Storage(cluster.volume("results")).trial(t.trial_id) for t in load_sweep(str(file)).trials]
    until(lambda: sum(len(t.numbers()) for t in trials) >= 4, 180, "epochs of the long sweep")
    began = time.monotonic()
    code = sweep.stop()
    say(f"docker stop took {time.monotonic() - began:.1f} s of {sweep.service.grace:.0f}, exit code {code}")
    assert "Stopped on request" in sweep.output
    ended = [str(trial.attempts()[-1].ended) for trial in trials if trial.attempts()]
    assert set(ended) == {"interrupted"}, ended
