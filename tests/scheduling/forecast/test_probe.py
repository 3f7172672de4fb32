"""Timing of parts in concurrent processes."""

import os
import signal

import pytest
import torch

from orchestrator.scheduling.forecast import probe as probe_module
from orchestrator.scheduling.forecast.probe import ProbeError, probe
from orchestrator.study.sweep import Resources
from orchestrator.training.cost import PartKind, record_parts
from tests.training.trials import small_trial


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_module, "LEAST_SECONDS", 0.0)


def test_every_part_is_timed() -> None:
    wanted = list(record_parts(small_trial(measurement={"fraction": 0.02, "algorithm1_every": 2}), range(3)))
    assert [part.kind for part in wanted].count(PartKind.MEASURING) == 2
    result = probe(wanted, 2, Resources())
    assert set(result.seconds) == set(wanted)
    assert all(0 < seconds < 60 for seconds in result.seconds.values())
    for part in wanted:
        measuring = part.kind is PartKind.MEASURING
        assert bool(result.quantities[part]) == measuring
        assert sum(result.quantities[part].values()) <= result.seconds[part]
    assert result.start_seconds > 0.1


def test_an_error_of_a_part_is_reported() -> None:
    lost = small_trial(model={"name": "there_is_no_such_module:Net"})
    with pytest.raises(ProbeError, match="there_is_no_such_module"):
        probe(list(record_parts(lost, range(2))), 1, Resources())


@pytest.mark.skipif(torch.cuda.is_available(), reason="tests a machine without a GPU")
def test_a_missing_gpu_is_reported() -> None:
    with pytest.raises(ProbeError, match="the trial requests gpu: 1, but torch finds no GPU"):
        probe(list(record_parts(small_trial(), range(1))), 1, Resources(gpu=1.0))


def _die(*arguments: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_dies_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_module, "_time", _die)
    with pytest.raises(ProbeError, match=r"died, possibly because memory ran out; lower --max-concurrent"):
        probe(list(record_parts(small_trial(), range(1))), 1, Resources())
