"""With compose.s3.yaml, trials are stored in the bucket. Only workers with keys compute."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.cluster.cluster import ROOT, Cluster
from tests.cluster.containers import Container
from tests.cluster.observed import say, stored_objects, sweep_file, tracked, until

pytestmark = pytest.mark.cluster


def test_only_workers_with_bucket_keys_compute_trials(cluster: Cluster, finished: Container) -> None:
    with cluster.overridden("compose.s3.yaml"):
        compute_in_a_bucket(cluster)


def compute_in_a_bucket(cluster: Cluster) -> None:
    sweep_file(cluster.volume("results"), "bucket", epochs="4", seed="[5]", batch_size="[64]")
    refused = driver(cluster, "sweep-refused")
    assert refused.wait(180) == 2, refused.output
    refused.end()
    for worker in ("worker-1", "worker-2"):
        assert f"node {worker} (" in refused.output
    assert "no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in refused.output
    assert not [key for key in stored_objects(cluster, "trials") if "/epochs/" in key]

    without = cluster.of("worker")
    for worker in without:
        worker.stop()
    with_keys = [cluster.make("worker", f"keyed-{number}") for number in (1, 2)]
    for worker in with_keys:
        worker.service = replace(worker.service, name="keyed")
        worker.start()
    for worker in with_keys:
        cluster.wait_healthy(worker)
    sweep = driver(cluster, "sweep-bucket")
    # Stopped nodes are reported as lost after some seconds and are checked until then.
    until(lambda: "trials done" in sweep.output and not sweep.running, 240, f"the bucket's sweep: {sweep.output}")
    keys = stored_objects(cluster, "trials")
    epochs = [key for key in keys if "/epochs/" in key]
    say(f"{len(epochs)} epochs and {len(keys)} objects in the bucket of the trials, by workers with keys of their own")
    assert len(epochs) == 2 * 5
    assert tracked(cluster, "bucket") == {"runs": 3, "finished": 3, "points": 10, "steps": 10}
    for secret in ("trials_access_key", "trials_secret_key"):
        assert cluster.secret(secret) not in sweep.output

    for worker in with_keys:
        worker.stop()
    for worker in without:
        worker.start()
    for worker in without:
        cluster.wait_healthy(worker)


def driver(cluster: Cluster, name: str) -> Container:
    """Starts the sweep service. Its working folder has the logs and reports of the bucket."""
    service = cluster.services["sweep"]
    command = [word if word != "quickstart" else "/mnt/results/bucket.yaml" for word in service.command]
    container = cluster.make("sweep", name, command)
    local: Path = cluster.scratch / f"{name}-local"
    local.mkdir()
    local.chmod(0o777)
    container.mounts.append((local, str(ROOT / "results")))
    container.start()
    return container
