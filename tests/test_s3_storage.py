"""A sweep in a bucket is killed, continued, read and shipped. Results equal those on a disk; no secret is stored."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from orchestrator.store.storage import Storage
from orchestrator.study.sweep import load_sweep
from tests.store.buckets import SECRET, contents, environment, new_bucket, s3_server

pytestmark = pytest.mark.slow
CONTENT = {
    "name": "far",
    "description": "Two trials of six epochs.",
    "trial": {
        "data": {"name": "digits"},
        "model": {"name": "mlp", "hidden": [32]},
        "optimizer": {"name": "sgd", "lr": 0.05},
        "epochs": 6,
        "measurement": {"fraction": 0.05, "estimators": ["lanczos"]},
    },
    "grid": {"seed": [0, 1]},
}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in environment(server).items():
        monkeypatch.setenv(name, value)
    return new_bucket(server)


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    kept = {key: value for key, value in os.environ.items() if key not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")}
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator.cli", *arguments],
        cwd=folder,
        env={**kept, "PYTHONPATH": os.pathsep.join(sys.path)},
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def said(folder: Path, *arguments: str) -> str:
    process = start(folder, *arguments)
    told, _ = process.communicate(timeout=600)
    assert process.returncode == 0, told
    return told


def records(storage: Storage, ids: list[str]) -> str:
    return repr({key: [record.reproducible() for record in storage.trial(key).records()] for key in ids})


def test_a_killed_sweep_in_a_bucket_gives_the_same_results_as_on_disk(tmp_path: Path, server: str, bucket: str) -> None:
    (tmp_path / "far.yaml").write_text(yaml.safe_dump(CONTENT))
    ids = list(load_sweep(str(tmp_path / "far.yaml")).by_id)
    place = f"s3://{bucket}/studies"
    run = ["run", "./far.yaml", "--engine", "local", "--storage"]
    killed = start(tmp_path, *run, place)
    storage, until = Storage(place), time.monotonic() + 120
    while sum(len(storage.trial(key).numbers()) for key in ids) < 3:
        assert time.monotonic() < until
        assert killed.poll() is None, killed.communicate()[0]
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert sum(len(storage.trial(key).numbers()) for key in ids) < 14, "it was killed too late to say anything"

    told = said(tmp_path, *run, place)
    assert "far: 2 of 2 trials done" in told
    said(tmp_path, *run, "twin", "--tracking-uri", "sqlite:///twin.db")
    assert records(storage, ids) == records(Storage(tmp_path / "twin"), ids)

    assert "driver: none running" in said(tmp_path, "status", "far", "--storage", place)
    assert f"s3://{bucket}/studies: writable, S3, 1 sweep" in said(tmp_path, "doctor", "--storage", place)
    report = said(tmp_path, "report", "far", "--storage", place)
    assert f"in the storage: {place}/sweeps/far/report" in report
    export = said(tmp_path, "export", "far", "--storage", place)
    assert f"in the storage: {place}/sweeps/far/export" in export
    assert "14 epochs shipped" in said(
        tmp_path, "ship", "far", "--storage", place, "--tracking-uri", "sqlite:///empty.db"
    )

    stored = contents(server, bucket)
    assert all(key.startswith("studies/") for key in stored)
    local = tmp_path / "results" / "s3" / bucket / "studies" / "sweeps" / "far"
    for name in ("report/report.html", "export/epochs.parquet"):
        assert stored[f"studies/sweeps/far/{name}"] == (local / name).read_bytes()
    assert (local / "shipper.log").exists()
    everything = {**stored, **{str(path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}}
    assert [name for name, content in everything.items() if SECRET.encode() in content] == []
    assert SECRET not in told + report + export
