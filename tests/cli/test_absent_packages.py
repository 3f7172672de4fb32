"""Commands without Ray or MLflow, each in a subprocess that cannot import them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.study.sweep import load_sweep
from tests.cli.command import SMALL, command, write

_COMMANDS = """
import json, sys
from orchestrator.cli import main
from orchestrator.scheduling.forecast import probe
probe.LEAST_SECONDS = 0.0
for arguments in json.loads(sys.argv[1]):
    try:
        main(arguments)
    except SystemExit as ended:
        assert not ended.code, (arguments, ended.code)
"""


def without(folder: Path, *modules: str) -> dict[str, str]:
    """Returns environment variables that make modules impossible to import."""
    (folder / "absent").mkdir()
    for name in modules:
        (folder / "absent" / f"{name}.py").write_text(f"raise ModuleNotFoundError('no {name}', name='{name}')")
    return {"PYTHONPATH": os.pathsep.join([str(folder / "absent"), *filter(None, [os.environ.get("PYTHONPATH")])])}


def test_trial_plan_status_and_doctor_need_neither_ray_nor_mlflow(tmp_path: Path) -> None:
    sweep = write(tmp_path, SMALL)
    first = next(iter(load_sweep(sweep).by_id))
    commands = json.dumps(
        [["plan", sweep, "--max-concurrent", "1"], ["status", sweep], ["trial", sweep, first], ["doctor"]]
    )
    done = subprocess.run(
        [sys.executable, "-c", _COMMANDS, commands],
        cwd=tmp_path,
        env={**os.environ, **without(tmp_path, "ray", "mlflow")},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_run_without_ray_suggests_installing_it_or_the_local_engine(tmp_path: Path) -> None:
    refused = command(tmp_path, "run", write(tmp_path, SMALL), **without(tmp_path, "ray"))
    assert refused.returncode == 2
    assert "Ray is not installed: pip install 'hessian-dynamics[sweep]', or run with --engine local" in refused.stderr


@pytest.mark.slow
def test_without_mlflow_run_trains_and_ship_suggests_installing_it(tmp_path: Path) -> None:
    hidden = without(tmp_path, "mlflow")
    done = command(tmp_path, "run", write(tmp_path, SMALL), "--engine", "local", **hidden)
    assert done.returncode == 0
    assert "the shipper ended at once, so training starts without it" in done.stdout
    assert "small: 2 of 2 trials done" in done.stdout
    refused = command(tmp_path, "ship", "small", **hidden)
    assert refused.returncode == 2
    assert "pip install 'hessian-dynamics[sweep]'" in refused.stderr
