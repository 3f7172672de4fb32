"""Stacks of gradients in the output of a layer, in both memory formats."""

import pytest
import torch

from estimators.kernels.blocks import Scratch
from estimators.per_sample.output_gradients import Columns
from tests.estimators.cases import seeded


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("count", [1, 3])
def test_stacked_gradients_keep_values_and_memory_format(memory_format: torch.memory_format, count: int) -> None:
    deltas = [
        delta.contiguous(memory_format=memory_format)
        for delta in torch.randn(count, 5, 4, 3, 2, dtype=torch.float64, generator=seeded(0))
    ]
    columns = Columns(deltas, [1.0] * count, count, Scratch())
    stacked = columns.stacked(slice(1, 4))
    assert columns.samples == 5
    assert torch.equal(stacked, torch.stack([delta[1:4] for delta in deltas], dim=1))
    assert (stacked.stride(2) == 1) == (memory_format is torch.channels_last)
