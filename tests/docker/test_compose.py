import copy
import re
import shlex
import subprocess
from typing import Any

import jsonschema
import pytest

from tests.cluster.compose import load, merge
from tests.docker.deployment import DOCKER, ROOT, compose, schema

SERVICES = compose()["services"]
OURS = [name for name, service in SERVICES.items() if service["image"].startswith("hessian-dynamics:")]
LONG_RUNNING = ["head", "worker", "postgres", "s3", "mlflow"]


@pytest.mark.parametrize(
    "more", [[], ["gpu"], ["s3"], ["gpu", "s3"], ["s3", "gpu"]], ids=lambda more: "+".join(more) or "alone"
)
def test_it_matches_the_schema_and_every_service_is_complete(more: list[str]) -> None:
    files = [DOCKER / "compose.yaml", *(DOCKER / f"compose.{name}.yaml" for name in more)]
    jsonschema.validate(merge(files), schema("compose"))


def _latest(written: dict[str, Any]) -> None:
    written["services"]["s3"]["image"] = "chrislusf/seaweedfs:latest"


def _everywhere(written: dict[str, Any]) -> None:
    written["services"]["mlflow"]["ports"] = ["5000:5000"]


def _unchecked(written: dict[str, Any]) -> None:
    written["services"]["worker"]["healthcheck"] = {"disable": True}


def _root(written: dict[str, Any]) -> None:
    written["services"]["postgres"]["user"] = "0:0"


def _whoever(written: dict[str, Any]) -> None:
    del written["services"]["s3"]["user"]


@pytest.mark.parametrize("spoil", [_latest, _everywhere, _unchecked, _root, _whoever])
def test_the_schema_refuses(spoil: Any) -> None:
    written = copy.deepcopy(compose())
    spoil(written)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(written, schema("compose"))


def test_services_have_a_health_check_and_restart() -> None:
    assert [name for name, service in SERVICES.items() if service.get("restart") == "unless-stopped"] == LONG_RUNNING
    for name, service in SERVICES.items():
        # The image's health check imports torch every minute and is useless for a job, so jobs disable it.
        assert ("test" in service["healthcheck"]) == (name in LONG_RUNNING), name
        assert ("disable" in service["healthcheck"]) == (name not in LONG_RUNNING), name


def test_dependencies_wait_for_health() -> None:
    for name, service in SERVICES.items():
        for needed, how in service.get("depends_on", {}).items():
            expected = "service_healthy" if needed in LONG_RUNNING else "service_completed_successfully"
            assert how["condition"] == expected, (name, needed)


def test_every_service_runs_as_the_owner_of_the_secrets() -> None:
    for name, service in SERVICES.items():
        assert re.fullmatch(r"\$\{CLUSTER_UID:\?[^}]+\}:0", service["user"]), name
        assert service["cap_drop"] == ["ALL"], name
    # initdb cannot chmod a volume that another user owns, but it can chmod a folder inside it.
    volume, folder = SERVICES["postgres"]["volumes"][0], SERVICES["postgres"]["environment"]["PGDATA"]
    assert folder.startswith(f"{volume.partition(':')[2]}/")


@pytest.mark.parametrize("more", [[], ["compose.gpu.yaml"]], ids=["cpu", "cuda"])
def test_one_service_builds_the_image_of_the_others(more: list[str]) -> None:
    merged = merge([DOCKER / name for name in ("compose.yaml", *more)])["services"]
    [builds] = [name for name, service in merged.items() if "build" in service]
    [image] = {merged[name]["image"] for name in OURS}
    assert merged[builds]["image"] == image
    assert all(merged[name]["pull_policy"] == "never" for name in OURS)
    # `up` of everything, or of one of these, builds a missing image.
    for name in ("worker", "sweep", "doctor"):
        assert builds in merged[name]["depends_on"]


def test_every_build_needs_a_commit() -> None:
    how = "git describe --always --dirty --abbrev=40 --exclude='*'"
    told = re.escape(f"{{COMMIT}} is not set: every run records it; export COMMIT=`{how}`")
    with pytest.raises(ValueError, match=told):
        load([DOCKER / "compose.yaml"], {"CLUSTER_UID": "10001"})
    for file in (DOCKER / "compose.yaml", DOCKER / "Dockerfile", ROOT / "docs/clusters.md"):
        assert f"COMMIT=$({how})" in file.read_text(), file
    if (ROOT / ".git").exists():
        said = subprocess.run(shlex.split(how), cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?\n", said)


def test_the_head_has_no_cpus_and_workers_scale() -> None:
    assert "--num-cpus=0" in SERVICES["head"]["command"]
    assert SERVICES["worker"]["deploy"]["replicas"] == "${WORKERS:-2}"


def test_every_secret_is_created_declared_and_granted() -> None:
    listed = compose()["secrets"]
    [made] = re.findall(r"for name in ([a-z0-9_ ]+);", (DOCKER / "secrets.sh").read_text())
    assert set(made.split()) == set(listed)
    assert {entry["file"] for entry in listed.values()} == {f"secrets/{name}" for name in listed}
    used = set()
    for name, service in SERVICES.items():
        environment = service.get("environment", {})
        read = {v.removeprefix("/run/secrets/") for v in environment.values() if v.startswith("/run/secrets/")}
        read |= set(re.findall(r"\$\(secret (\w+)\)", (DOCKER / "s3.sh").read_text())) if name == "s3" else set()
        assert read == set(service.get("secrets", ())), name
        used |= read
    assert used == set(listed)


def test_no_secret_is_inline() -> None:
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|TOKEN|SECRET|ACCESS_KEY", key):
                assert value == "token" or value.startswith("/run/secrets/"), (name, key)
        for word in service.get("command", []):
            assert not re.search(r"://[^/@\s]*:[^/@\s]*@", word), (name, word)
    for file in DOCKER.rglob("*"):
        if file.is_file() and "secrets/" not in str(file.relative_to(DOCKER)):
            # A generated secret has at least 32 characters and contains no word.
            assert not re.search(r"\b(?=[A-Za-z]*\d)[A-Fa-f0-9]{32,}\b", file.read_text()), file


def test_only_loopback_is_published_and_workers_see_no_database() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["mlflow"]
    assert compose()["networks"]["data"] == {"internal": True}
    assert set(SERVICES["worker"]["networks"]).isdisjoint(SERVICES["postgres"]["networks"])
    assert set(SERVICES["worker"]["networks"]).isdisjoint(SERVICES["s3"]["networks"])


def test_the_host_check_allows_the_service_and_the_published_port() -> None:
    [allowed] = [word for word in SERVICES["mlflow"]["command"] if word.startswith("--allowed-hosts=")]
    assert "mlflow:5000" in allowed
    assert "localhost:${MLFLOW_PORT:-5000}" in allowed
    assert "*" not in allowed


def test_stopping_a_sweep_leaves_time_for_an_epoch() -> None:
    assert SERVICES["sweep"]["stop_signal"] == "SIGTERM"
    assert SERVICES["sweep"]["stop_grace_period"] == "10m"
    assert (DOCKER / "driver.sh").read_text().strip().splitlines()[-1].startswith("exec ")


def test_the_doctor_checks_the_nodes() -> None:
    sweep, doctor = SERVICES["sweep"], SERVICES["doctor"]
    assert sweep["command"][:2] == ["docker/driver.sh", "run"]
    assert doctor["command"][:2] == ["docker/driver.sh", "doctor"]
    assert "--cluster" in doctor["command"]
    assert doctor["command"][-2:] == sweep["command"][-2:], "one storage"
    assert {key: sweep[key] for key in ("environment", "secrets", "networks", "volumes")} == {
        key: doctor[key] for key in ("environment", "secrets", "networks", "volumes")
    }


def test_trials_in_the_bucket_have_separate_keys() -> None:
    merged = load([DOCKER / "compose.yaml", DOCKER / "compose.s3.yaml"], {"CLUSTER_UID": "10001", "COMMIT": "c0ffee"})
    for name in ("worker", "sweep", "doctor", "report"):
        service = merged[name]
        assert service.environment["AWS_ACCESS_KEY_ID_FILE"] == "/run/secrets/trials_access_key"
        assert service.environment["AWS_ENDPOINT_URL"] == merged["mlflow"].environment["MLFLOW_S3_ENDPOINT_URL"]
        assert {"trials_access_key", "trials_secret_key"} <= set(service.secrets)
        assert not {"s3_access_key", "s3_secret_key", "postgres_password"} & set(service.secrets)
        assert not set(service.networks) & set(merged["postgres"].networks)
        assert set(service.networks) & set(merged["s3"].networks)
    assert merged["worker"].environment["RAY_AUTH_MODE"] == "token"
    assert all("s3://trials/results" in merged[name].command for name in ("sweep", "doctor", "report"))
    assert "trials" in merged["bucket"].command


def test_every_client_of_ray_has_the_token() -> None:
    for service in SERVICES.values():
        command = shlex.join(service.get("command", []))
        if "ray" in command or "driver.sh" in command:
            assert service["environment"]["RAY_AUTH_MODE"] == "token"
            assert service["environment"]["RAY_AUTH_TOKEN_PATH"] == "/run/secrets/ray_token"


def test_the_gpu_file_only_changes_existing_services() -> None:
    gpu = compose("compose.gpu.yaml")["services"]
    assert set(gpu) == set(OURS)
    [device] = gpu["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]


def test_secrets_are_ignored_by_git_and_by_the_image() -> None:
    assert {"docker/secrets/", "docker/.env"} <= set((ROOT / ".gitignore").read_text().splitlines())
    assert (ROOT / ".dockerignore").read_text().splitlines()[0] == "*"
    assert "secrets" not in (ROOT / ".dockerignore").read_text()
