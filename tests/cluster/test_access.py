"""Authentication, and which service gets which secret."""

import os

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.observed import status

pytestmark = pytest.mark.cluster


def test_a_client_without_the_token_is_refused(cluster: Cluster) -> None:
    command = ["ray", "health-check", "--address", "head:6379"]
    worker = cluster.of("worker")[0]
    assert worker.inside(command).returncode == 0
    wrong = "RAY_AUTH_TOKEN=" + "0" * 64  # overrides the file
    done = worker.inside(["env", wrong, *command])
    assert done.returncode != 0
    assert "token" in (done.stdout + done.stderr).lower()
    without = worker.inside(["env", "-u", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE=disabled", *command])
    assert without.returncode != 0


def test_a_client_without_a_password_or_with_another_host_is_refused(cluster: Cluster) -> None:
    password = cluster.secret("mlflow_admin_password")
    assert status(cluster, "mlflow:5000", password) == 200
    assert status(cluster, "mlflow:5000", None) == 401
    assert status(cluster, "mlflow:5000", "password1234") == 401
    assert status(cluster, "evil.example:5000", password) == 403


def test_a_worker_reaches_neither_database_nor_artifacts(cluster: Cluster) -> None:
    worker, [postgres], [s3] = cluster.of("worker")[0], cluster.of("postgres"), cluster.of("s3")
    for container, port in ((postgres, 5432), (s3, 8333)):
        code = f"import socket; socket.create_connection(({container.addresses['data']!r}, {port}), 3)"
        assert worker.inside(["python", "-c", code]).returncode != 0
        assert cluster.of("mlflow")[0].inside(["python", "-c", code]).returncode == 0


def test_each_secret_reaches_only_its_services(cluster: Cluster) -> None:
    listed = cluster.of("worker")[0].inside(["ls", "/run/secrets"]).stdout.split()
    assert listed == ["ray_token"]
    # Command lines are readable by every user of a machine.
    for container in cluster.containers.values():
        lines = container.inside(["sh", "-c", "cat /proc/[0-9]*/cmdline"]).stdout
        assert not [name for name in os.listdir(cluster.docker / "secrets") if cluster.secret(name) in lines]
