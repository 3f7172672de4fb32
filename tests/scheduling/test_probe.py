"""Probing in processes, side by side."""

import os
import signal
from pathlib import Path

import pytest

from orchestrator.scheduling.probe import ProbeError, _started, probe
from orchestrator.study.sweep import Resources
from orchestrator.training.cost import Kind, parts
from tests.training.trials import small_trial


def test_every_part_is_timed() -> None:
    wanted = list(parts(small_trial(measurement={"fraction": 0.02, "algorithm1_every": 2}), range(3)))
    assert [part.kind for part in wanted].count(Kind.MEASURING) == 2
    probed = probe(wanted, 2, Resources())
    assert set(probed.seconds) == set(wanted)
    assert all(0 < seconds < 60 for seconds in probed.seconds.values())
    assert probed.start_seconds > 0.1


def test_what_cannot_be_built_is_said_and_leaves_no_process(tmp_path: Path) -> None:
    lost = small_trial(model={"name": "there_is_no_such_module:Net"})
    with pytest.raises(ProbeError, match=r"\w"):
        probe(list(parts(lost, range(2))), 1, Resources())


def test_a_process_that_dies_is_said() -> None:
    with _started(1, Resources(), small_trial().data, 0.1) as (worker,):
        worker.received()
        assert worker.process.pid
        os.kill(worker.process.pid, signal.SIGKILL)
        with pytest.raises(ProbeError, match=r"died \(exit code -9\); is there memory .* --max-concurrent 1 takes the"):
            worker.received()
    assert not worker.process.is_alive()
