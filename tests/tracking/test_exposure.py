"""In whole runs, only the expected processes contact the tracker, and no credentials are left anywhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.shared import shared_folder
from tests.tracking.proxy import WELL, Fault, Proxy, Request

PASSWORD = "plantedpassword4711"
KEY_ID = "AKIAPLANTEDPLANTED00"
SECRET_KEY = "planted/secret+key0815"
SWEEP = {
    "description": "Two trials.",
    "trial": {
        "data": {"name": "digits"},
        "model": {"name": "mlp", "hidden": [20, 10]},
        "optimizer": {"name": "sgd", "lr": 0.05},
        "epochs": 2,
        "measurement": {"fraction": 0.05, "estimators": ["exact_trace"]},
    },
    "grid": {"seed": [0, 1]},
}


def owner_of(port: int) -> tuple[int, str]:
    """Returns the id and the command line of the process that has a connection from a local port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {f"socket:[{row[9]}]" for row in rows if int(row[1].rpartition(":")[2], 16) == port}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(each.readlink()) in inodes for each in (process / "fd").iterdir()):
                return int(process.name), (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # it has ended, or the descriptor was closed meanwhile
            continue
    return 0, ""


def command_lines() -> str:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            found.append((process / "cmdline").read_bytes().decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(found)


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads open connections from /proc")
@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=pytest.mark.slow)])
def test_no_training_process_contacts_the_tracker_and_no_credential_is_left(
    engine: str, server: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (tmp_path / "place").mkdir()
    (tmp_path / "place/exposed.yaml").write_text(yaml.safe_dump({"name": f"exposed-{engine}", **SWEEP}))
    peers: dict[int, str] = {}
    seen: list[str] = []

    def rule(request: Request) -> Fault:
        pid, command = owner_of(request.client_port)
        peers[pid] = command
        if request.number % 5 == 1:
            seen.append(command_lines())
        return WELL

    with Proxy(server) as proxy:
        proxy.rule = rule
        kept = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
        process = subprocess.Popen(
            # One training process is enough, and every other would import torch.
            [
                *(sys.executable, "-m", "orchestrator.cli", "run", "./exposed.yaml"),
                *("--engine", engine, "--max-concurrent", "1"),
            ],
            cwd=tmp_path / "place",
            env={
                **kept,
                "PYTHONPATH": str(Path(__file__).parents[2]),
                "MLFLOW_TRACKING_URI": proxy.uri.replace("://", f"://me:{PASSWORD}@"),
                "AWS_ACCESS_KEY_ID": KEY_ID,
                "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            },
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said
    assert f"6 epochs shipped to {proxy.uri.replace('://', '://***@')}" in said
    peers.pop(0, None)
    shippers = {pid for pid, command in peers.items() if " ship " in command}
    assert len(shippers) == 1, peers
    # The driver, which trains nothing, asks for the link to the curves.
    assert set(peers) - shippers <= {process.pid}, peers

    server_folder = shared_folder(tmp_path_factory) / "server"
    files = [path for folder in (tmp_path, server_folder) for path in folder.rglob("*") if path.is_file()]
    assert any(path.name == "server.db" for path in files)
    assert any(path.name == "shipper.log" for path in files)
    for secret in (PASSWORD, KEY_ID, SECRET_KEY):
        assert secret not in said
        assert not any(secret in lines for lines in seen), "a command line shows the password to every user"
        assert [path for path in files if secret.encode() in path.read_bytes()] == []
    assert seen
