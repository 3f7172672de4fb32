"""Two sweeps for runs that are disturbed, the processes of a run, and the results to compare."""

import time
from pathlib import Path

from orchestrator.scheduling.plan import reconcile
from orchestrator.store.trial_status import State
from tests.working_folder import SLOWER, WorkingFolder

LONG = {**SLOWER, "trial": {**SLOWER["trial"], "epochs": 60}, "grid": {"seed": [0, 1]}}  # type: ignore[dict-item]
SHORT = {**SLOWER, "trial": {**SLOWER["trial"], "epochs": 6}, "grid": {"seed": [0, 1]}}  # type: ignore[dict-item]


def descendants(pid: int) -> dict[int, str]:
    """Maps the descendants of a process to their command lines. The shipper is excluded: it has its own session."""
    found: dict[int, str] = {}
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            command = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            if "--follow" not in command:
                found |= {int(child): command, **descendants(int(child))}
    return found


def workers(pid: int) -> list[int]:
    """Returns the worker processes."""
    return [child for child, command in descendants(pid).items() if "spawn_main" in command or "ray::Impl" in command]


def living(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists() and _state(pid) != "Z"]


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 20
    while left := living(pids):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def states(place: WorkingFolder) -> set[State]:
    return {status.state for status in reconcile(place.sweep, place.storage).statuses.values()}


def records(place: WorkingFolder) -> str:
    """Returns the reproducible values of every trial."""
    trials = [place.storage.trial(trial_id) for trial_id in place.sweep.by_id]
    return repr([[record.reproducible() for record in trial.records()] for trial in trials])
