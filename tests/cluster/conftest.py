"""Fixtures: the cluster of compose.yaml, started once per session, and the sweep that it computed under faults."""

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.cluster.cluster import Cluster, why_not
from tests.cluster.containers import Container
from tests.cluster.observed import epochs, say, until

STRAY_COMMIT = "badc0de" * 5 + "badc0"


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if reason := why_not():
        pytest.skip(reason)
    with Cluster(tmp_path_factory.mktemp("cluster"), WORKERS="2", WORKER_CPUS="1") as cluster:
        for service in ("postgres", "s3", "bucket", "mlflow", "head", "worker"):
            cluster.up(service)
        for service in ("mlflow", "worker"):
            for container in cluster.of(service):
                cluster.wait_healthy(container)
        say("healthy: PostgreSQL, S3, MLflow, the head and two workers")
        yield cluster
    say("all containers are stopped")


@pytest.fixture(scope="session")
def stray(cluster: Cluster) -> Container:
    """A worker with another commit and a private folder instead of the storage. It is not started yet."""
    container = cluster.make("worker", "stray")
    container.environment["HESSIAN_DYNAMICS_COMMIT"] = STRAY_COMMIT
    container.service = replace(container.service, name="stray")
    container.mounts = [(source, target) for source, target in container.mounts if target != "/mnt/results"]
    return container


@pytest.fixture(scope="session")
def finished(cluster: Cluster, stray: Container) -> Container:
    """The sweep service's first run, under faults."""
    first, second = cluster.of("worker")
    [sweep] = cluster.up("sweep")

    until(lambda: epochs(cluster) >= 4, 180, "the first epochs")
    stray.start()
    say(f"{epochs(cluster)} epochs stored; a worker of another commit joins, worker 1 is killed")
    first.crash()
    until(lambda: first.starts == 2 and first.running, 60, "the killed worker is started again")

    at = epochs(cluster)
    until(lambda: epochs(cluster) >= at + 6, 180, "epochs after the kill")
    say(f"{epochs(cluster)} epochs stored; MLflow is restarted")
    [mlflow], [postgres] = cluster.of("mlflow"), cluster.of("postgres")
    mlflow.stop()
    mlflow.start()

    at = epochs(cluster)
    until(lambda: epochs(cluster) >= at + 6, 180, "epochs without MLflow")
    say(f"{epochs(cluster)} epochs stored; worker 2 is cut off for 20 s")
    cluster.cut(second, 20)
    say(f"{epochs(cluster)} epochs stored; worker 2 is back, PostgreSQL is restarted")
    assert postgres.stop() == 0
    time.sleep(3)
    postgres.start()

    assert sweep.wait(600) == 0, sweep.output
    stray.end()
    say("the sweep service has ended")
    return sweep
