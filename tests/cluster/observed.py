"""Functions that observe the cluster from outside: storage, PostgreSQL, S3, responses of MLflow."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

from tests.cluster.cluster import ROOT, Cluster

EPOCHS = 16
"""Number of records of a quickstart trial: the untrained network and 15 epochs."""
_BEGAN = time.monotonic()


def say(text: str) -> None:
    print(f"{time.monotonic() - _BEGAN:6.1f} s  {text}", flush=True)


def until(done: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.5)


def sweep_file(folder: Path, name: str, **replaced: str) -> Path:
    """The quickstart sweep with another name and other values."""
    text = (ROOT / "sweeps/quickstart.yaml").read_text().replace("name: quickstart", f"name: {name}")
    for key, value in replaced.items():
        text, found = re.subn(rf"^(  {key}): .*$", rf"\1: {value}", text, flags=re.MULTILINE)
        assert found == 1, key
    file = folder / f"{name}.yaml"
    file.write_text(text)
    return file


def epochs(cluster: Cluster) -> int:
    return sum(1 for _ in cluster.volume("results").glob("trials/*/epochs/*.json"))


def attempts_made(cluster: Cluster) -> int:
    return sum(1 for _ in cluster.volume("results").glob("trials/*/attempts/*.json"))


def status(cluster: Cluster, host: str, password: str | None) -> int:
    """The response of MLflow's server to a request with this Host header."""
    login = ["--user", f"admin:{password}"] if password else []
    address = "http://mlflow:5000/api/2.0/mlflow/experiments/get?experiment_id=0"
    what = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--header", f"Host: {host}"]
    return int(cluster.of("worker")[0].inside([*what, *login, address]).stdout)


def tracked(cluster: Cluster, sweep: str = "quickstart") -> dict[str, int]:
    """Returns the numbers of a sweep's rows in PostgreSQL."""
    query = f"""
        WITH ours AS (SELECT run_uuid, status FROM runs JOIN experiments USING (experiment_id)
                      WHERE experiments.name = '{sweep}' AND runs.lifecycle_stage = 'active'),
             points AS (SELECT run_uuid, step FROM metrics JOIN ours USING (run_uuid) WHERE key = 'hessian/lambda_max')
        SELECT json_build_object('runs', (SELECT count(*) FROM ours),
                                 'finished', (SELECT count(*) FROM ours WHERE status = 'FINISHED'),
                                 'points', (SELECT count(*) FROM points),
                                 'steps', (SELECT count(*) FROM (SELECT DISTINCT run_uuid, step FROM points) AS p))
    """
    return dict(json.loads(_ask(cluster, query)))


def known(cluster: Cluster) -> tuple[str, str]:
    """The ids of the quickstart's experiment and of the sweep's run."""
    query = """
        SELECT json_build_array(experiment_id::text, run_uuid) FROM runs JOIN experiments USING (experiment_id)
        JOIN tags USING (run_uuid) WHERE experiments.name = 'quickstart' AND value = 'sweep' LIMIT 1
    """
    experiment, run = json.loads(_ask(cluster, query))
    return experiment, run


def _ask(cluster: Cluster, query: str) -> str:
    [postgres] = cluster.of("postgres")
    done = postgres.inside(["psql", "-h", "/tmp/ray", "-U", "mlflow", "-d", "mlflow", "-Atc", query])
    assert done.returncode == 0, done.stderr
    return done.stdout


def stored_objects(cluster: Cluster, bucket: str = "mlflow") -> list[str]:
    """The keys in a bucket."""
    code = (
        "import boto3, json, os; s3 = boto3.client('s3', endpoint_url=os.environ['MLFLOW_S3_ENDPOINT_URL']);"
        f"pages = s3.get_paginator('list_objects_v2').paginate(Bucket={bucket!r});"
        "print(json.dumps([o['Key'] for page in pages for o in page.get('Contents', [])]))"
    )
    done = cluster.of("mlflow")[0].inside([str(ROOT / "docker/entrypoint.sh"), "python", "-c", code])
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))
