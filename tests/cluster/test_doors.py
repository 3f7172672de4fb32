"""Who is turned away, and which secret reaches whom."""

import os

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.seen import status

pytestmark = pytest.mark.cluster


def test_who_has_no_token_is_turned_away(cluster: Cluster) -> None:
    command = ["ray", "health-check", "--address", "head:6379"]
    worker = cluster.of("worker")[0]
    assert worker.inside(command).returncode == 0
    wrong = "RAY_AUTH_TOKEN=" + "0" * 64  # goes before the file
    done = worker.inside(["env", wrong, *command])
    assert done.returncode != 0
    assert "token" in (done.stdout + done.stderr).lower()
    without = worker.inside(["env", "-u", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE=disabled", *command])
    assert without.returncode != 0


def test_who_has_no_password_or_comes_as_another_host_is_turned_away(cluster: Cluster) -> None:
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


def test_secrets_reach_only_who_needs_them(cluster: Cluster) -> None:
    listed = cluster.of("worker")[0].inside(["ls", "/run/secrets"]).stdout.split()
    assert listed == ["ray_token"]
    # On no command line: everybody on a machine can read those.
    for container in cluster.containers.values():
        lines = container.inside(["sh", "-c", "cat /proc/[0-9]*/cmdline"]).stdout
        assert not [name for name in os.listdir(cluster.docker / "secrets") if cluster.secret(name) in lines]
