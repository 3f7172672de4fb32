"""What ships to MLflow ends with the container or the job, so there a run waits for it."""

from orchestrator.tracking.background import SHIP_VARIABLE
from tests.docker.deployment import DOCKER, ROOT, compose, manifest


def test_compose_waits() -> None:
    assert compose()["services"]["sweep"]["environment"][SHIP_VARIABLE] == "600"


def test_kubernetes_waits() -> None:
    cluster = manifest("RayJob", "sweep")["spec"]["rayClusterSpec"]
    [head] = cluster["headGroupSpec"]["template"]["spec"]["containers"]  # the driver runs there
    assert {"name": SHIP_VARIABLE, "value": "600"} in head["env"]


def test_slurm_waits() -> None:
    assert f"export {SHIP_VARIABLE}=${{{SHIP_VARIABLE}:-600}}" in (DOCKER / "slurm/sweep.sbatch").read_text()


def test_it_is_told() -> None:
    assert SHIP_VARIABLE in (ROOT / "docs/clusters.md").read_text()
