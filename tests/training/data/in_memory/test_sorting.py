"""The sorting task."""

import pytest
import torch

from orchestrator.study.parts.data_config import SortingData
from orchestrator.training.data.in_memory.sorting import sorting_data
from orchestrator.training.data.samples import DataError
from orchestrator.training.data.task import Task
from orchestrator.training.scores import NO_TARGET

CONFIG = SortingData(name="sorting", length=5, vocabulary=8, sequences=100, test_sequences=20)


def test_targets_are_the_sorted_numbers() -> None:
    data = sorting_data(CONFIG)
    assert data.task is Task.TOKENS
    assert data.signature.output_shape == (9, 8)
    for part in (data.train, data.validation, data.test, data.shifted):
        assert part
        ordered = part.inputs[:, :5].sort(dim=1).values
        assert torch.equal(part.inputs[:, 5:], ordered[:, :-1])
        assert torch.equal(part.targets[:, 4:], ordered)
        assert (part.targets[:, :4] == NO_TARGET).all()
    assert (len(data.train), len(data.validation), len(data.test)) == (90, 10, 20)


def test_sequences_are_the_same_every_time_and_shifted_ones_have_large_numbers() -> None:
    data = sorting_data(CONFIG)
    assert sorting_data(CONFIG).digest == data.digest
    inputs, _ = data.shifted_test(slice(None))
    assert int(inputs.min()) >= 4 > int(data.test.inputs.min())


def test_sequences_that_do_not_fit_into_memory_are_refused() -> None:
    message = r"data sorting, 10,000,000,002,000 sequences of 11 numbers takes about [0-9,]+ MB of memory, but .* fewer"
    with pytest.raises(DataError, match=message):
        sorting_data(SortingData(name="sorting", sequences=10**13))
