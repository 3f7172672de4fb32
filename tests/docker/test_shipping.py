"""In containers and jobs a run waits for its shipper, which ends with them."""

from orchestrator.tracking.background import SHIP_VARIABLE
from tests.docker.deployment import DOCKER, ROOT, compose, manifest


def test_compose_waits() -> None:
    assert compose()["services"]["sweep"]["environment"][SHIP_VARIABLE] == "600"


def test_kubernetes_waits() -> None:
    cluster = manifest("RayJob", "sweep")["spec"]["rayClusterSpec"]
    [head] = cluster["headGroupSpec"]["template"]["spec"]["containers"]  # runs the driver
    assert {"name": SHIP_VARIABLE, "value": "600"} in head["env"]


def test_slurm_waits() -> None:
    assert f"export {SHIP_VARIABLE}=${{{SHIP_VARIABLE}:-600}}" in (DOCKER / "slurm/sweep.sbatch").read_text()


def test_the_guide_mentions_it() -> None:
    assert SHIP_VARIABLE in (ROOT / "docs/clusters.md").read_text()
