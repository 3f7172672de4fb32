"""The head holds no state: after it is lost during a sweep, the cluster re-forms and the sweep continues."""

import time

import pytest

from orchestrator.store.storage import Storage
from orchestrator.study.sweep import load_sweep
from tests.cluster.cluster import Cluster
from tests.cluster.containers import Container
from tests.cluster.observed import say, sweep_file, tracked, until

pytestmark = pytest.mark.cluster
LAST = 200
"""Last epoch of a trial. Workers end only 60 s after they lose the head, and no trial may end before."""


def test_a_head_that_is_restarted_loses_nothing(cluster: Cluster, finished: Container) -> None:
    file = sweep_file(cluster.volume("results"), "headless", epochs=str(LAST), seed="[6]", batch_size="[64]")
    command = [word if word != "quickstart" else "/mnt/results/headless.yaml" for word in finished.service.command]
    trials = [Storage(cluster.volume("results")).trial(t.trial_id) for t in load_sweep(str(file)).trials]
    sweep = cluster.make("sweep", "sweep-headless", command)
    sweep.start()
    until(lambda: sum(len(t.numbers()) for t in trials) >= 4, 180, "epochs before the head is restarted")
    [head] = cluster.of("head")
    began, attempts = time.monotonic(), sum(len(t.attempts()) for t in trials)
    head.stop()
    head.start()
    until(lambda: sum(len(t.attempts()) for t in trials) > attempts, 240, "an attempt after it")
    say(f"the head is restarted: the next attempt begins after {time.monotonic() - began:.0f} s")
    until(lambda: "2 of 2 trials done" in sweep.output and not sweep.running, 600, f"the end:\n{sweep.output}")
    assert [t.numbers() for t in trials] == [list(range(LAST + 1))] * 2
    assert tracked(cluster, "headless") == {"runs": 3, "finished": 3, "points": 2 * (LAST + 1), "steps": 2 * (LAST + 1)}
    say(f"driver started {sweep.starts} times, workers {[worker.starts for worker in cluster.of('worker')]} times")
