"""SeaweedFS starts with the right user, keys and reachable ports."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.docker.deployment import DOCKER, compose

SECRETS = ("s3_access_key", "s3_secret_key", "trials_access_key", "trials_secret_key")
WEED = """#!/bin/sh
printf '%s\\n' "$@" > "$FOLDER/arguments"
printf '%s' "$WEED_JWT_FILER_SIGNING_KEY" > "$FOLDER/key"
"""


def start(folder: Path, **secrets: str) -> subprocess.CompletedProcess[str]:
    """Runs s3.sh with a fake `weed` that records its arguments. All paths are mapped into `folder`."""
    for name in ("bin", "secrets", "data", "tmp"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "bin/weed").write_text(WEED)
    (folder / "bin/weed").chmod(0o755)
    for name in SECRETS:
        (folder / "secrets" / name).write_text(secrets.get(name, name))
    script = (DOCKER / "s3.sh").read_text()
    for written, here in {"/run/secrets": "secrets", "/data": "data", "/tmp/": "tmp/"}.items():
        script = re.sub(rf"(?<![\w.]){written}", f"{folder.name}/{here}", script)
    environment = {"PATH": f"{folder}/bin{os.pathsep}{os.environ['PATH']}", "FOLDER": str(folder)}
    command = ["sh", "-c", script]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder.parent, env=environment)


def test_each_identity_has_keys_and_the_trials_key_opens_one_bucket(tmp_path: Path) -> None:
    assert start(tmp_path).returncode == 0
    assert (tmp_path / "tmp/s3.json").stat().st_mode & 0o777 == 0o600
    mlflow, trials = json.loads((tmp_path / "tmp/s3.json").read_text())["identities"]
    assert mlflow["credentials"] == [{"accessKey": "s3_access_key", "secretKey": "s3_secret_key"}]
    assert trials["credentials"] == [{"accessKey": "trials_access_key", "secretKey": "trials_secret_key"}]
    assert all(action.endswith(":trials") for action in trials["actions"])


@pytest.mark.parametrize("name", SECRETS)
def test_it_does_not_start_with_an_empty_key(tmp_path: Path, name: str) -> None:
    done = start(tmp_path, **{name: ""})
    assert done.returncode == 78
    assert f"secret {name} is missing, empty or not readable by uid {os.getuid()}" in done.stderr
    assert not (tmp_path / "arguments").exists()


def test_only_s3_listens_beyond_its_container(tmp_path: Path) -> None:
    start(tmp_path)
    options = dict(word.split("=", 1) for word in (tmp_path / "arguments").read_text().split() if "=" in word)
    assert options["-ip"] == options["-ip.bind"] == "127.0.0.1"
    assert options["-s3.ip.bind"] == "0.0.0.0"
    assert options["-s3.port.iceberg"] == options["-s3.port.lance"] == "0"


def test_its_grpc_port_needs_a_key_that_is_new_at_every_start(tmp_path: Path) -> None:
    keys = set()
    for _ in range(2):
        start(tmp_path)
        keys.add((tmp_path / "key").read_text())
    assert len(keys) == 2
    assert all(re.fullmatch("[0-9a-f]{64}", key) for key in keys)


def test_it_writes_into_its_volume_as_the_owner_of_the_secrets() -> None:
    services = compose()["services"]
    s3, volume = services["s3"], services["s3-volume"]
    assert s3["user"] == volume["user"] == services["mlflow"]["user"]
    assert s3["cap_drop"] == ["ALL"]
    # Compose creates all containers before it starts any; a new volume takes its mode from the container that copies.
    assert "s3:/data:nocopy" in s3["volumes"]
    assert volume["volumes"] == ["s3:/mnt/s3"]
    assert list(s3["depends_on"]) == ["s3-volume"]
    assert re.search(r"install -d -o 10001 -g 0 -m 0775 .*/mnt/s3", (DOCKER / "Dockerfile").read_text())
