"""The Ray engine on real clusters: GPUs and memory of trials, clusters that lack them, trials that wait for them."""

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orchestrator.scheduling.attempts import Attempts
from orchestrator.scheduling.engines.ray import RayEngine
from orchestrator.scheduling.job import TrainingJob
from orchestrator.scheduling.placement import NoRoomError
from orchestrator.scheduling.retry import Failure
from orchestrator.study.sweep import Resources

pytestmark = pytest.mark.slow
TRIALS = ("one", "two")


@dataclass(frozen=True)
class Holding(TrainingJob):
    """A fake job that records its resources and node.

    It holds them while the file ``hold`` exists. If the file ``meet`` exists, it waits for the other trial to begin.
    """

    def run(self, trial_id: str, node: str = "") -> Failure | None:
        import ray

        folder = Path(self.storage_root)
        assert self.resources is not None
        (folder / f"{trial_id}-ran").write_text(json.dumps([self.resources.gpu, ray.get_gpu_ids()]))
        (folder / f"{trial_id}-node").write_text(node)
        while (folder / "meet").exists() and not all((folder / f"{name}-ran").exists() for name in TRIALS):
            time.sleep(0.05)
        while (folder / "hold").exists():
            time.sleep(0.05)
        return None


class Said(logging.Handler):
    """Writes messages to a file. Adds the first node, or stops the run, once the driver waits for a node."""

    def __init__(self, file: Path, join: Callable[[], object]) -> None:
        super().__init__()
        self._file = file
        self._join = join

    def emit(self, record: logging.LogRecord) -> None:
        with self._file.open("a") as file:
            file.write(f"{record.getMessage()}\n")
        if record.getMessage().startswith("waiting for nodes to join"):
            self._join()


def main(folder: Path, resources: dict[str, Any], late: bool, nodes: int, **node: int) -> None:
    """Runs fake trials on a cluster of equal nodes. Releases the first only after the stop has ended the second."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    stop = threading.Event()
    join = stop.set if (folder / "stop").exists() else partial(cluster.add_node, **node)
    logging.getLogger("orchestrator").addHandler(Said(folder / "said", join))
    logging.getLogger("orchestrator").setLevel(logging.INFO)
    for _ in range(0 if late else nodes):
        join()
    attempts = Attempts(Holding(str(folder), "sweep"), TRIALS, stop.is_set)
    watch = threading.Thread(target=stop_while_one_waits, args=(folder, attempts, stop), daemon=True)
    if (folder / "hold").exists():
        watch.start()
    try:
        RayEngine(Resources(**resources), address=cluster.address).run(attempts)
    except NoRoomError as error:
        (folder / "error").write_text(str(error))
    cluster.shutdown()


def stop_while_one_waits(folder: Path, attempts: Attempts, stop: threading.Event) -> None:
    wait_for(lambda: (folder / "one-ran").exists() and attempts.running == 2)
    stop.set()
    wait_for(lambda: attempts.running == 1)
    (folder / "ended-waiting").touch()
    (folder / "hold").unlink()


def wait_for(condition: Callable[[], object]) -> None:
    while not condition():
        time.sleep(0.05)


def play(
    folder: Path,
    resources: dict[str, Any],
    cpus: int = 2,
    gpus: int = 0,
    late: bool = False,
    nodes: int = 1,
    memory_gib: int = 2,
) -> dict[str, Any]:
    """Returns the resources that each trial got, by trial."""
    node = f"num_cpus={cpus}, num_gpus={gpus}, memory={memory_gib * 2**30}"
    root = Path(__file__).parents[3]
    imports = "from pathlib import Path; from tests.scheduling.engines.test_ray_resources import main"
    call = f"{imports}; main(Path({str(folder)!r}), {resources!r}, {late}, {nodes}, {node})"
    kept = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    environment = {**kept, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", call], cwd=root, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {name: json.loads(path.read_text()) for name in TRIALS if (path := folder / f"{name}-ran").exists()}


@pytest.mark.parametrize(("options", "share"), [({}, 0.125), ({"trials_per_gpu": 1}, 1.0)])
def test_auto_requests_a_share_of_a_gpu_that_the_cluster_has(
    tmp_path: Path, options: dict[str, int], share: float
) -> None:
    assert play(tmp_path, {"gpu": "auto", **options}, gpus=1) == {name: [share, [0]] for name in TRIALS}


def test_auto_uses_the_gpus_of_all_nodes(tmp_path: Path) -> None:
    """Both trials run at the same time, each on the GPU of another node."""
    (tmp_path / "meet").touch()
    options = {"gpu": "auto", "trials_per_gpu": 1}
    assert play(tmp_path, options, gpus=1, nodes=2) == {name: [1.0, [0]] for name in TRIALS}
    assert len({(tmp_path / f"{name}-node").read_text() for name in TRIALS}) == 2
    assert (tmp_path / "said").read_text().splitlines() == [
        "gpu: auto: 1 trial per GPU, of 2 GPUs",
        "2 nodes, 4 CPUs, 2 GPUs: 2 trials at a time (1 CPU and 1 GPU each)",
    ]


def test_unused_gpus_are_reported(tmp_path: Path) -> None:
    assert play(tmp_path, {"gpu": 0}, gpus=1) == {name: [0, []] for name in TRIALS}
    line = (tmp_path / "said").read_text()
    assert line.endswith("2 trials at a time (1 CPU each); the GPUs are not used, because resources.gpu is 0\n")


def test_auto_waits_for_the_first_node(tmp_path: Path) -> None:
    assert play(tmp_path, {"gpu": "auto"}, gpus=1, late=True) == {name: [0.125, [0]] for name in TRIALS}


def test_a_stop_while_the_first_node_is_awaited_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "stop").touch()
    assert play(tmp_path, {"gpu": "auto"}, late=True) == {}
    assert not (tmp_path / "error").exists()


def test_auto_requests_no_gpu_if_the_cluster_has_none(tmp_path: Path) -> None:
    assert play(tmp_path, {"gpu": "auto"}) == {name: [0.0, []] for name in TRIALS}


def test_trials_that_fit_together_into_memory_run_at_the_same_time(tmp_path: Path) -> None:
    (tmp_path / "meet").touch()
    assert list(play(tmp_path, {"memory_gib": 1})) == list(TRIALS)
    assert "2 trials at a time (1 CPU and 1 GiB each)" in (tmp_path / "said").read_text()


def test_a_trial_waits_until_its_memory_is_free(tmp_path: Path) -> None:
    """The second trial waits beside a free CPU. The stop ends it while the first one still holds the memory."""
    (tmp_path / "hold").touch()
    assert list(play(tmp_path, {"memory_gib": 1.5})) == ["one"]
    assert (tmp_path / "ended-waiting").exists()
    assert "2 CPUs, 0 GPUs: 1 trial at a time (1 CPU and 1.5 GiB each)" in (tmp_path / "said").read_text()


@pytest.mark.parametrize("memory_gib", [0, 2])
def test_trials_with_more_memory_than_any_node_are_refused(tmp_path: Path, memory_gib: int) -> None:
    assert play(tmp_path, {"memory_gib": 3}, memory_gib=memory_gib) == {}
    assert f"2 CPUs, 0 GPUs and {memory_gib} GiB" in (tmp_path / "error").read_text()


@pytest.mark.parametrize("resources", [{"gpu": 1.0}, {"cpu": 3}])
def test_trials_that_fit_on_no_node_are_refused(tmp_path: Path, resources: dict[str, Any]) -> None:
    assert play(tmp_path, resources) == {}
    assert "more than any machine has" in (tmp_path / "error").read_text()
    assert "has 2 CPUs and 0 GPUs" in (tmp_path / "error").read_text()


def test_a_stop_ends_a_trial_that_waits_while_another_one_runs(tmp_path: Path) -> None:
    (tmp_path / "hold").touch()
    assert list(play(tmp_path, {"cpu": 1}, cpus=1)) == ["one"]
    assert (tmp_path / "ended-waiting").exists()
