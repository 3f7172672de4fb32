"""Blocks of probes give the same runs as single probes."""

import pytest
import torch

import estimators.spectrum.probe_runs as module
from estimators.spectrum.probe_runs import probe_runs
from tests.estimators.cases import mse_operator, seeded


def test_blocks_do_not_change_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    op = mse_operator()
    none = torch.zeros(op.size, 0, dtype=op.dtype)
    together = [run.tridiagonal for run in probe_runs(op, 3, 5, seeded(0), none, lambda _: False)]
    monkeypatch.setattr(module, "BLOCK_BYTES", 1)
    alone = [run.tridiagonal for run in probe_runs(op, 3, 5, seeded(0), none, lambda _: False)]
    assert op.products == 30
    assert all(torch.equal(one, other) for one, other in zip(together, alone, strict=True))


def test_runs_end_when_they_have_enough() -> None:
    op = mse_operator()
    none = torch.zeros(op.size, 0, dtype=op.dtype)
    runs = list(probe_runs(op, 2, 20, seeded(0), none, lambda run: run.steps == 4))
    assert [run.steps for run in runs] == [4, 4] and op.products == 8
