"""A storage that becomes full or read-only during a run: the run ends with a clear message, and a rerun continues."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.store.trial_status import State
from tests.scheduling.processes import SHORT, records, states
from tests.small_disk import fill, read_only, small_disk
from tests.working_folder import WorkingFolder

pytestmark = pytest.mark.slow
CONTENT = {**SHORT, "trial": {**SHORT["trial"], "epochs": 16}}  # type: ignore[dict-item]


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The results of an undisturbed run."""
    place = WorkingFolder(tmp_path_factory.mktemp("twin"), CONTENT)
    code, said = place.run("--engine", "local")
    assert code == 0, said
    return records(place)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[WorkingFolder]:
    """A working folder on a disk of 64 MiB."""
    with small_disk(tmp_path / "results", 64 * 2**20) as mounted:
        if not mounted:
            pytest.skip("no small disk can be mounted here: that takes root")
        yield WorkingFolder(tmp_path, CONTENT)


def end(place: WorkingFolder, process: subprocess.Popen[str]) -> str:
    """Runs until the storage is no longer writable, checks that no file is torn, and returns the message."""
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 1, said
    assert "stopping, since no other trial can continue either" in said
    assert "Traceback" not in said
    assert states(place) <= {State.INTERRUPTED, State.PENDING, State.COMPLETED}
    for trial_id in place.sweep.by_id:
        trial = place.storage.trial(trial_id)
        assert [trial.read(epoch).record.epoch for epoch in trial.numbers()] == list(range(len(trial.numbers())))
    return said


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_full_or_read_only_disk_stops_the_run_and_a_rerun_continues(
    place: WorkingFolder, twin: str, engine: str
) -> None:
    root = place.folder / "results"
    process = place.start("--engine", engine)
    place.wait_for_epochs(3)
    ballast = fill(root)
    said = end(place, process)
    full = rf"storage '{re.escape(str(root))}' cannot be written \(No space left on device: [\d,]+ bytes were to be "
    fix = r"written, [\d,]+ are free\); free space there and run the same command again; what is finished is kept"
    assert re.search(full + fix, said), said
    ballast.unlink()
    committed = sum(len(place.storage.trial(trial_id).numbers()) for trial_id in place.sweep.by_id)
    process = place.start("--engine", engine)
    place.wait_for_epochs(committed + 3)
    with read_only(root):
        said = end(place, process)
        assert f"storage '{root}' cannot be written (Read-only file system); choose a folder you may write to" in said
    code, said = place.run("--engine", engine)
    assert code == 0, said
    assert records(place) == twin
