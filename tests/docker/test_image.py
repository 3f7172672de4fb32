import os
import re
import shutil
import stat
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.docker.deployment import DOCKER, LOCK, ROOT, compose, manifest, manifests, pods

DOCKERFILE = (DOCKER / "Dockerfile").read_text()
SCRIPTS = [*sorted(DOCKER.glob("*.sh")), DOCKER / "slurm/sweep.sbatch"]


def test_the_base_is_pinned_and_built_in_stages() -> None:
    assert re.search(r"^ARG PYTHON=3\.11\.\d+-slim-\w+$", DOCKERFILE, re.MULTILINE)
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["python:${PYTHON}"] * 2


def test_it_runs_as_a_fixed_user() -> None:
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE) == ["10001:0"]
    users = {pod["securityContext"]["runAsUser"] for pod in pods(manifests())}
    assert users == {10001}
    assert "user=10001" in (DOCKER / "secrets.sh").read_text()


def test_everything_is_installed_when_built_from_the_lock() -> None:
    installs = re.findall(r"pip install.*", DOCKERFILE)
    assert installs
    assert all("-c /build/requirements.lock" in line for line in installs)
    for script in SCRIPTS:
        assert "pip install" not in script.read_text()
        assert "apt-get" not in script.read_text()


def test_the_lock_has_what_the_services_need() -> None:
    for name in ("psycopg", "psycopg-binary", "boto3", "s3fs", "Flask-WTF", "aiohttp-cors", "ray", "mlflow", "torch"):
        assert name in LOCK
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert any(name.startswith("psycopg[binary]") for name in extras["cluster"])


def test_only_torch_and_torchvision_come_from_torchs_index() -> None:
    [line] = [each for each in re.findall(r"pip install.*", DOCKERFILE) if "--index-url" in each]
    assert "--no-deps" in line
    assert line.split()[-2:] == ["torch", "torchvision"]
    assert DOCKERFILE.index(line) < DOCKERFILE.index("'/build[sweep,cluster]'"), (
        "the second install adds torch's dependencies"
    )


def test_the_lock_contains_every_dependency_of_torch() -> None:
    locked, needed = {canonicalize_name(name) for name in LOCK}, {"torch", "torchvision"}
    while more := {name for each in needed for name in requirements(each)} - needed:
        needed |= more
    assert needed <= locked


def requirements(name: str) -> set[str]:
    found = map(Requirement, metadata.requires(name) or ())
    return {canonicalize_name(r.name) for r in found if not r.marker or r.marker.evaluate({"extra": ""})}


def test_versions_are_those_of_the_lock() -> None:
    assert manifest("RayJob", "sweep")["spec"]["rayClusterSpec"]["rayVersion"] == LOCK["ray"]
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    images = {s["image"] for s in compose()["services"].values() if s.get("pull_policy") == "never"}
    images |= {container["image"] for pod in pods(manifests()) for container in pod["containers"]}
    assert {image.removesuffix("-cuda") for image in images} == {f"hessian-dynamics:{version}"}


def test_copied_files_exist_and_are_not_ignored() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for line in re.findall(r"^COPY (?!--from)(?:--\S+ )?(.*)$", DOCKERFILE, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert source in kept, source


def test_the_image_records_its_commit() -> None:
    assert 'org.opencontainers.image.revision="$COMMIT"' in DOCKERFILE
    assert "HESSIAN_DYNAMICS_COMMIT=$COMMIT" in DOCKERFILE
    [check] = re.findall(r"^RUN (: .*COMMIT.*)$", DOCKERFILE, re.MULTILINE)
    assert subprocess.run(["sh", "-c", check], env={"COMMIT": "c0ffee"}).returncode == 0
    refused = subprocess.run(["sh", "-c", check], env={}, capture_output=True, text=True)
    assert refused.returncode != 0
    assert "--build-arg COMMIT=$(git describe" in refused.stderr


def test_no_other_index_is_named() -> None:
    hosts = set()
    for file in DOCKER.rglob("*"):
        if file.is_file():
            hosts |= set(re.findall(r"https://([\w.]+)", file.read_text()))
    assert hosts == {"download.pytorch.org"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_scripts_have_no_syntax_errors(script: Path) -> None:
    shell = "sh" if script.read_text().startswith("#!/bin/sh") else "bash"
    subprocess.run([shell, "-n", str(script)], check=True)
    assert re.search(r"^set -eu", script.read_text(), re.MULTILINE)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", str(script)], check=True)


def entrypoint(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the entrypoint with `tmp_path` as /run/secrets. Prints the values that it exports."""
    script = (DOCKER / "entrypoint.sh").read_text().replace("/run/secrets", str(tmp_path))
    command = ["bash", "-c", script, "entrypoint", "sh", "-c", 'echo "$DOOR_KEY:${DOOR_KEY_FILE:-no file}"']
    path = {"PATH": os.environ["PATH"]}
    return subprocess.run(command, capture_output=True, text=True, env={**path, **environment}, cwd=tmp_path)


def test_the_entrypoint_reads_secrets_from_files(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("a $ecret with spaces\n")
    done = entrypoint(tmp_path, DOOR_KEY_FILE=str(tmp_path / "key"))
    assert (done.returncode, done.stdout) == (0, "a $ecret with spaces:no file\n")


def test_the_entrypoint_names_a_missing_secret(tmp_path: Path) -> None:
    done = entrypoint(tmp_path, DOOR_KEY_FILE=str(tmp_path / "key"))
    assert done.returncode == 78
    assert "DOOR_KEY_FILE" in done.stderr
    assert "make cluster-secrets" in done.stderr


@pytest.mark.parametrize("file", ["/etc/ssl/certs/ca-certificates.crt", "/nowhere", "", "relative"])
def test_the_entrypoint_ignores_files_that_are_not_secrets(tmp_path: Path, file: str) -> None:
    done = entrypoint(tmp_path, DOOR_KEY_FILE=file)
    assert (done.returncode, done.stdout) == (0, f":{file or 'no file'}\n"), done.stderr


def test_secrets_are_created_once_and_readable_by_their_owner_only(tmp_path: Path) -> None:
    script = shutil.copy(DOCKER / "secrets.sh", tmp_path / "secrets.sh")
    subprocess.run([script], check=True, capture_output=True)
    made = {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()}
    assert set(made) == set(compose()["secrets"])
    assert all(re.fullmatch("[0-9a-f]{64}", secret) for secret in made.values())
    assert len(set(made.values())) == len(made)
    assert {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "secrets").iterdir()} == {0o600}
    user = 10001 if os.getuid() == 0 else os.getuid()
    assert {file.stat().st_uid for file in (tmp_path / "secrets").iterdir()} == {user}
    assert f"CLUSTER_UID={user}\n" in (tmp_path / ".env").read_text()

    (tmp_path / ".env").write_text("WORKERS=7\nCLUSTER_UID=0\n")
    (tmp_path / "secrets/ray_token").unlink()
    subprocess.run([script], check=True, capture_output=True)
    again = {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()}
    assert [name for name in made if made[name] != again[name]] == ["ray_token"]
    assert (tmp_path / ".env").read_text() == f"WORKERS=7\nCLUSTER_UID={user}\n"
