"""The Ray engine on real clusters: failures are handled as by the local engine, nodes that kill workers are avoided."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from orchestrator.scheduling.attempts import Attempts
from orchestrator.scheduling.engines.ray import RayEngine
from orchestrator.scheduling.job import TrainingJob
from orchestrator.scheduling.retry import Failure, failure_of
from orchestrator.store.storage import Storage
from orchestrator.study.sweep import Resources
from orchestrator.training.allocator import WORKER_ENVIRONMENT
from tests.scheduling.stored import attempt

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Played(TrainingJob):
    """A fake job whose outcome depends on the trial's name. It is fast because it does not import torch."""

    bad_node: str = ""

    def run(self, trial_id: str, node: str = "") -> Failure | None:
        began = time.monotonic()
        if (Path(self.storage_root) / "stop").exists():
            return None
        (Path(self.storage_root) / "environment.json").write_text(json.dumps(dict(os.environ)))
        trial = Storage(self.storage_root).trial(trial_id)
        tries = len(trial.attempts()) + 1
        trial.write_attempt(replace(attempt(f"{time.time_ns()}"), node=node))
        if node == self.bad_node or (trial_id.startswith("dies") and tries == 1):
            os.kill(os.getpid(), signal.SIGKILL)
        if trial_id.startswith("memory") and tries == 1:
            return failure_of(MemoryError("too much"))
        if trial_id.startswith("bug"):
            return failure_of(ZeroDivisionError("a bug"))
        time.sleep(0.3)
        span = [began, time.monotonic(), os.getpid()]
        (Path(self.storage_root) / f"{trial_id}-done").write_text(json.dumps(span))
        return None


def main(folder: Path, trial_ids: list[str], nodes: int = 0, bad_node: bool = False) -> None:
    """Runs fake trials on a separate Ray: on nodes with two logical cores each, or on this machine."""
    said = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("orchestrator").addHandler(handler)
    logging.getLogger("orchestrator").setLevel(logging.INFO)
    bad, address = "", None
    if nodes:
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        added = [cluster.add_node(num_cpus=2).node_id for _ in range(nodes)]
        bad, address = added[0] if bad_node else "", cluster.address
    stop = folder / "stop"
    attempts = Attempts(Played(str(folder), "sweep", bad_node=bad), trial_ids, stop.exists, stop.touch)
    RayEngine(Resources(), address=address).run(attempts)
    (folder / "said.json").write_text(json.dumps([bad, *said]))
    if nodes:
        cluster.shutdown()


def play(folder: Path, trial_ids: list[str], nodes: int = 0, bad_node: bool = False) -> tuple[str, list[str]]:
    root = Path(__file__).parents[3]
    imports = "from pathlib import Path; from tests.scheduling.engines.test_ray import main"
    call = f"{imports}; main(Path({str(folder)!r}), {trial_ids}, {nodes}, {bad_node})"
    kept = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    done = subprocess.run(
        [sys.executable, "-c", call],
        cwd=root,
        env={**kept, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    bad, *said = json.loads((folder / "said.json").read_text())
    return bad, said


def spans(folder: Path) -> dict[str, tuple[float, float, int]]:
    return {path.name.removesuffix("-done"): json.loads(path.read_text()) for path in folder.glob("*-done")}


def test_failures_are_handled_as_in_the_local_engine(tmp_path: Path) -> None:
    _, said = play(tmp_path, ["one", "memory", "dies", "bug", "two", "three"])
    done = spans(tmp_path)
    assert sorted(done) == ["dies", "memory", "one", "three", "two"]
    assert done["memory"][0] > max(end for name, (_, end, _) in done.items() if name != "memory")
    assert "trial bug: ZeroDivisionError: a bug; failed" in said
    again = "retrying from its last record"
    assert f"trial memory: MemoryError: too much; {again}, alone, when the others are done" in said
    assert any(line.startswith(f"trial dies: its process died (for an unknown reason); {again}, in ") for line in said)
    assert len(said) == 4  # the first line reports the resources
    ends = {name: [each.ended for each in Storage(tmp_path).trial(name).attempts()] for name in ("bug", "dies")}
    assert ends == {"bug": ["failed"], "dies": ["interrupted", None]}


def test_a_long_temporary_folder_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    play(tmp_path, ["one"])
    assert sorted(spans(tmp_path)) == ["one"]


@pytest.mark.parametrize("nodes", [0, 1])
def test_workers_keep_freed_memory(tmp_path: Path, nodes: int) -> None:
    play(tmp_path, ["one"], nodes)
    assert WORKER_ENVIRONMENT.items() <= json.loads((tmp_path / "environment.json").read_text()).items()


def test_the_same_bug_in_the_first_three_trials_stops_the_run(tmp_path: Path) -> None:
    _, said = play(tmp_path, [*(f"bug{number}" for number in range(12)), "one", "two"])
    assert sum(line.startswith("the first 3 trials all failed with this error") for line in said) == 1
    assert any(line.startswith("Traceback") or "ZeroDivisionError: a bug" in line for line in said)
    assert spans(tmp_path) == {}
    assert sum(line.endswith("; failed") for line in said) < 12


def test_short_trials_fill_every_slot(tmp_path: Path) -> None:
    """A finished trial's process is reused. If that stopped a starting process, no process would ever be added."""
    names = [f"trial{number:03}" for number in range(300)]
    play(tmp_path, names, nodes=4)
    done = spans(tmp_path)
    assert sorted(done) == names
    assert len({pid for *_, pid in done.values()}) >= 8
    # Later trials wait for a free slot and start in the order of the sweep.
    last = sorted(names, key=lambda name: done[name][0])[-100:]
    assert min(last) > names[150]


def test_a_node_that_kills_every_worker_is_avoided(tmp_path: Path) -> None:
    names = [f"trial{number}" for number in range(12)]
    bad, said = play(tmp_path, names, nodes=2, bad_node=True)
    assert sorted(spans(tmp_path)) == sorted(names)
    tries = {name: [each.node for each in Storage(tmp_path).trial(name).attempts()] for name in names}
    deaths = Counter({name: nodes.count(bad) for name, nodes in tries.items()})
    assert 1 <= sum(deaths.values()) < len(names)
    assert max(deaths.values()) == 1
    assert said[0] == "2 nodes, 4 CPUs, 0 GPUs: 4 trials at a time (1 CPU each)"
    assert len(said) == 1 + sum(deaths.values())
