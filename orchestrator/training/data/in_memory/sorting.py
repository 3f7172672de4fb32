"""The sorting task for sequence models: random numbers, followed by the same numbers in ascending order."""

import torch
from torch import Tensor

from orchestrator.study.parts.data_config import SortingData
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.in_memory.split_in_memory import check_fits_memory, digest_of, split_in_memory
from orchestrator.training.data.samples import Samples
from orchestrator.training.data.split import SPLIT_SEED
from orchestrator.training.data.task import Task
from orchestrator.training.scores import NO_TARGET
from orchestrator.training.streams import stream

_COPIES = 3
"""Memory while sequences are made and split, in multiples of their inputs and targets."""


def sorting_data(config: SortingData) -> DataSplits:
    """Returns sequences whose sorted order is to be predicted, number by number.

    The inputs are the numbers x_1 .. x_L and then all sorted numbers but the last. The targets at the last L positions
    are the sorted numbers; the other positions have none.

    Raises:
        DataError: if the sequences do not fit into memory.
    """
    sequences, positions = config.sequences + 2 * config.test_sequences, 2 * config.length - 1
    taken = _COPIES * 2 * sequences * positions * torch.int64.itemsize
    check_fits_memory(
        f"data sorting, {sequences:,} sequences of {positions:,} numbers", taken, "use fewer or shorter ones"
    )
    generator = stream(SPLIT_SEED, "sorting sequences")
    train = _draw_samples(config, config.sequences, 0, generator)
    test = _draw_samples(config, config.test_sequences, 0, generator)
    shifted = _draw_samples(config, config.test_sequences, config.vocabulary // 2, generator)
    digest = digest_of(train.inputs, train.targets, test.inputs, test.targets)
    size = config.vocabulary
    return split_in_memory(train, test, Task.TOKENS, digest, vocabulary=size, outputs=size, shifted=shifted)


def _draw_samples(config: SortingData, count: int, lowest: int, generator: torch.Generator) -> Samples:
    numbers = torch.randint(lowest, config.vocabulary, (count, config.length), generator=generator)
    ordered = numbers.sort(dim=1).values
    inputs = torch.cat([numbers, ordered[:, :-1]], dim=1)
    targets: Tensor = torch.full_like(inputs, NO_TARGET)
    targets[:, config.length - 1 :] = ordered
    return Samples(inputs, targets)
