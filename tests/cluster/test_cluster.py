"""`make test-cluster`: what docker/compose.yaml starts, started here, and treated badly while a sweep runs on it."""

import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.scheduling.reconcile import reconcile
from orchestrator.store.layout import Storage
from orchestrator.study.sweep import load_sweep
from tests.cluster.browser import CHROMIUM, Page, browsing
from tests.cluster.cluster import COMMIT, Cluster, why_not
from tests.cluster.containers import Container

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]

EPOCHS = 16
"""Of a quickstart trial: the untrained model and 15 more."""
_BEGAN = time.monotonic()


def say(text: str) -> None:
    print(f"{time.monotonic() - _BEGAN:6.1f} s  {text}", flush=True)


def until(done: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster"), WORKERS="2", WORKER_CPUS="1") as cluster:
        for service in ("postgres", "s3", "bucket", "mlflow", "head", "worker"):
            cluster.up(service)
        for service in ("mlflow", "worker"):
            for container in cluster.of(service):
                cluster.wait_healthy(container)
        say("healthy: PostgreSQL, S3, MLflow, the head and two workers")
        yield cluster
    say("everything is ended")


@pytest.fixture(scope="module")
def finished(cluster: Cluster) -> Container:
    """The sweep service's first run, with a cluster that breaks under it."""
    [sweep] = cluster.up("sweep")
    first, second = cluster.of("worker")

    until(lambda: epochs(cluster) >= 4, 180, "the first epochs")
    say(f"{epochs(cluster)} epochs stored; worker 1 is killed")
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
    say("the sweep service has ended")
    return sweep


def test_who_has_no_token_is_turned_away(cluster: Cluster, tmp_path: Path) -> None:
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
    [worker, _], [postgres], [s3] = cluster.of("worker"), cluster.of("postgres"), cluster.of("s3")
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


def test_every_trial_is_computed_once(cluster: Cluster, finished: Container) -> None:
    storage = Storage(cluster.volume("results"))
    plan = reconcile(load_sweep("quickstart"), storage)
    assert not plan.todo, plan.summary
    for trial in load_sweep("quickstart").trials:
        assert storage.trial(trial.trial_id).epochs() == list(range(EPOCHS))
    attempts = [a for trial in load_sweep("quickstart").trials for a in storage.trial(trial.trial_id).attempts()]
    assert {attempt.provenance.commit for attempt in attempts} == {COMMIT}
    hosts = Counter(attempt.provenance.host for attempt in attempts)
    say(f"attempts by node: {dict(hosts)}")
    assert set(hosts) == {"worker-1", "worker-2"}
    assert sum(hosts.values()) > 12, "nothing was interrupted, so nothing was shown"


def test_mlflow_has_every_point_once_in_postgresql(cluster: Cluster, finished: Container) -> None:
    until(lambda: tracked(cluster)["points"] == 12 * EPOCHS, 90, f"all points: {tracked(cluster)}")
    assert tracked(cluster) == {"runs": 13, "finished": 13, "points": 12 * EPOCHS, "steps": 12 * EPOCHS}


def test_artifacts_are_in_s3(cluster: Cluster, finished: Container) -> None:
    keys = stored_objects(cluster)
    assert sum(key.endswith("curvature.json") for key in keys) == 12, keys


def test_a_second_start_finds_all_of_it(cluster: Cluster, finished: Container) -> None:
    before, attempts, objects = tracked(cluster), attempts_made(cluster), stored_objects(cluster)
    finished.log.write_text("")
    finished.start()
    assert finished.wait(180) == 0
    say("the second start has ended")
    assert "nothing left to do" in finished.output
    assert attempts_made(cluster) == attempts
    assert tracked(cluster) == before
    assert stored_objects(cluster) == objects


def test_stopping_the_sweep_service_lets_trials_finish_their_epoch(cluster: Cluster, finished: Container) -> None:
    text = Path("sweeps/quickstart.yaml").read_text().replace("name: quickstart", "name: long")
    file = cluster.volume("results") / "long.yaml"
    file.write_text(text.replace("epochs: 15", "epochs: 400").replace("seed: [0, 1, 2]", "seed: [7]"))
    command = [word if word != "quickstart" else "/mnt/results/long.yaml" for word in finished.service.command]
    sweep = cluster.make("sweep", "sweep-long", command)
    sweep.start()
    trials = [Storage(cluster.volume("results")).trial(t.trial_id) for t in load_sweep(str(file)).trials]
    until(lambda: sum(len(t.epochs()) for t in trials) >= 4, 180, "epochs of the long sweep")
    began = time.monotonic()
    code = sweep.stop()
    say(f"docker stop took {time.monotonic() - began:.1f} s of {sweep.service.grace:.0f}, exit code {code}")
    assert "Stopped as asked" in sweep.output
    ended = [str(trial.attempts()[-1].ended) for trial in trials if trial.attempts()]
    assert set(ended) == {"interrupted"}, ended


def test_a_preempted_slurm_job_ends_its_epochs_queues_again_and_goes_on(cluster: Cluster) -> None:
    """The sbatch script itself, on one node, with an srun that runs things here and an scontrol that takes notes."""
    results = cluster.volume("results")
    for name, text in {
        "srun": '#!/bin/bash\nwhile [[ $1 == -* ]]; do shift; done\nexec "$@"\n',
        "scontrol": '#!/bin/bash\n[ "$1" = show ] && hostname || echo "scontrol $*" >> /mnt/results/slurm.txt\n',
    }.items():
        (results / "bin").mkdir(exist_ok=True)
        (results / "bin" / name).write_text(text)
        (results / "bin" / name).chmod(0o755)
    text = Path("sweeps/quickstart.yaml").read_text().replace("name: quickstart", "name: slurm")
    text = text.replace("epochs: 15", "epochs: 40").replace("seed: [0, 1, 2]", "seed: [8]").replace("[32, 64]", "[64]")
    (results / "slurm.yaml").write_text(text)

    job = cluster.make("sweep", "slurm-node", ["docker/slurm/sweep.sbatch", "/mnt/results/slurm.yaml"])
    job.environment |= {
        "PATH": f"/mnt/results/bin:{job.environment['PATH']}",
        "VENV": sys.prefix,
        "STORAGE": "/mnt/results",
        "SLURM_SUBMIT_DIR": "/mnt/results",
        "SLURM_JOB_ID": "4711",
        "SLURM_JOB_NODELIST": "slurm-node",
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_CPUS_PER_TASK": "2",
        "SLURM_GPUS_ON_NODE": "0",
    }
    trials = [Storage(results).trial(t.trial_id) for t in load_sweep(str(results / "slurm.yaml")).trials]
    job.start()
    until(lambda: sum(len(t.epochs()) for t in trials) >= 3, 120, f"epochs under Slurm: {job.output}")
    assert job.stop() == 0, job.output
    assert "Stopped as asked" in job.output
    assert (results / "slurm.txt").read_text() == "scontrol requeue 4711\n"
    assert (results / ".ray-token-4711").stat().st_mode & 0o777 == 0o600
    left = sum(len(t.epochs()) for t in trials)
    job.start()  # as Slurm does, under the same id
    assert job.wait(240) == 0, job.output
    say(f"Slurm: preempted after {left} epochs, queued again, {sum(len(t.epochs()) for t in trials)} of 82 in the end")
    assert [t.epochs() for t in trials] == [list(range(41))] * 2
    assert not (results / ".ray-token-4711").exists()


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")
def test_the_ui_shows_the_sweep(cluster: Cluster, finished: Container, tmp_path: Path) -> None:
    report = cluster.make("report")
    report.start()
    assert report.wait(120) == 0, report.output
    assert "in MLflow" in report.output, report.output
    shots = Path(os.environ.get("SCREENSHOTS") or tmp_path)
    shots.mkdir(parents=True, exist_ok=True)
    asyncio.run(walk(cluster, shots))
    say(f"screenshots: {shots}")


async def walk(cluster: Cluster, shots: Path) -> None:
    base = "http://localhost:5000"
    [mlflow] = cluster.of("mlflow")
    experiment, sweep_run = known(cluster)
    async with browsing(mlflow.namespace, "admin", cluster.secret("mlflow_admin_password")) as page:
        try:
            await visit(page, f"{base}/#/experiments/{experiment}", sweep_run, shots)
        except Exception:
            await page.shoot(shots / "failure.png")
            raise


async def visit(page: Page, experiment: str, sweep_run: str, shots: Path) -> None:
    await page.open(f"{experiment}/runs?workflowType=machine_learning", "lr=0.01 batch_size=64", "quickstart")
    await page.shoot(shots / "runs.png")

    await page.open("about:blank")
    # Charts are drawn once they are in sight.
    await page.call("Emulation.setDeviceMetricsOverride", width=2200, height=2600, deviceScaleFactor=1, mobile=False)
    charts = f"{experiment}/runs?compareRunsMode=CHART&workflowType=machine_learning"
    await page.open(charts, "hessian/lambda_max")
    drawn = """[...document.querySelectorAll('.js-plotly-plot')].filter(
        plot => plot.data.some(line => line.x.length == 16) && plot.querySelector('.scatterlayer path')).length"""
    deadline = time.monotonic() + 60
    while not await page.evaluate(drawn):
        assert time.monotonic() < deadline, "no curve of 16 epochs was drawn"
        await asyncio.sleep(0.5)
    await asyncio.sleep(2)
    await page.shoot(shots / "charts.png")

    await page.open("about:blank")
    await page.call("Emulation.clearDeviceMetricsOverride")
    await page.open(
        f"{experiment}/runs/{sweep_run}/artifacts/report/report.html", "report/report.html", "mlflow-artifacts:"
    )
    framed = "[...document.querySelectorAll('iframe')].some(f => f.src.startsWith('blob:'))"
    deadline = time.monotonic() + 60
    while not await page.evaluate(framed):
        assert time.monotonic() < deadline, "the report is not shown"
        await asyncio.sleep(0.5)
    await asyncio.sleep(3)
    await page.shoot(shots / "report.png")


def epochs(cluster: Cluster) -> int:
    return sum(1 for _ in cluster.volume("results").glob("trials/*/epochs/*.json"))


def attempts_made(cluster: Cluster) -> int:
    return sum(1 for _ in cluster.volume("results").glob("trials/*/attempts/*.json"))


def status(cluster: Cluster, host: str, password: str | None) -> int:
    """What MLflow's server answers to a request that asks for `host`."""
    login = ["--user", f"admin:{password}"] if password else []
    address = "http://mlflow:5000/api/2.0/mlflow/experiments/get?experiment_id=0"
    what = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--header", f"Host: {host}"]
    return int(cluster.of("worker")[0].inside([*what, *login, address]).stdout)


def tracked(cluster: Cluster) -> dict[str, int]:
    """What PostgreSQL holds of the quickstart sweep."""
    query = """
        WITH ours AS (SELECT run_uuid, status FROM runs JOIN experiments USING (experiment_id)
                      WHERE experiments.name = 'quickstart' AND runs.lifecycle_stage = 'active'),
             points AS (SELECT run_uuid, step FROM metrics JOIN ours USING (run_uuid) WHERE key = 'hessian/lambda_max')
        SELECT json_build_object('runs', (SELECT count(*) FROM ours),
                                 'finished', (SELECT count(*) FROM ours WHERE status = 'FINISHED'),
                                 'points', (SELECT count(*) FROM points),
                                 'steps', (SELECT count(*) FROM (SELECT DISTINCT run_uuid, step FROM points) AS p))
    """
    return dict(json.loads(ask(cluster, query)))


def known(cluster: Cluster) -> tuple[str, str]:
    """The ids of the experiment and of the sweep's own run."""
    query = """
        SELECT json_build_array(experiment_id::text, run_uuid) FROM runs JOIN experiments USING (experiment_id)
        JOIN tags USING (run_uuid) WHERE experiments.name = 'quickstart' AND value = 'sweep' LIMIT 1
    """
    experiment, run = json.loads(ask(cluster, query))
    return experiment, run


def ask(cluster: Cluster, query: str) -> str:
    [postgres] = cluster.of("postgres")
    done = postgres.inside(["psql", "-h", "/tmp/ray", "-U", "mlflow", "-d", "mlflow", "-Atc", query])
    assert done.returncode == 0, done.stderr
    return done.stdout


def stored_objects(cluster: Cluster) -> list[str]:
    code = (
        "import boto3, json, os; s3 = boto3.client('s3', endpoint_url=os.environ['MLFLOW_S3_ENDPOINT_URL']);"
        "pages = s3.get_paginator('list_objects_v2').paginate(Bucket='mlflow');"
        "print(json.dumps([o['Key'] for page in pages for o in page.get('Contents', [])]))"
    )
    done = cluster.of("mlflow")[0].inside([str(Path.cwd() / "docker/entrypoint.sh"), "python", "-c", code])
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))
