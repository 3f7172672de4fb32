"""Channel statistics. The tests of each data set compare the order and the noise with reference formulas."""

import torch

from orchestrator.training.data.split import channel_statistics


def test_a_constant_channel_has_a_deviation_of_one_grey_value() -> None:
    pixels = torch.full((50, 2, 3, 3), 7, dtype=torch.uint8)
    pixels[:25, 1] = 9
    mean, std = channel_statistics(pixels)
    assert mean.tolist() == [7, 8]
    assert std.tolist() == [1, 1]


def test_statistics_are_exact_for_any_order_and_number_of_images() -> None:
    pixels = torch.randint(0, 256, (3000, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    mean, std = channel_statistics(pixels)
    assert [values.tolist() for values in channel_statistics(pixels.flip(0))] == [mean.tolist(), std.tolist()]
    values = pixels.transpose(0, 1).flatten(1).double()
    assert torch.equal(mean, values.sum(1) / values.shape[1])
    assert torch.allclose(std, values.std(1, correction=0), rtol=1e-12)
