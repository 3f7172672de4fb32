"""Batched flips and crops equal a pixel-by-pixel reference."""

import pytest
import torch
from torch import Tensor

from orchestrator.study.parts.data_config import AugmentationConfig
from orchestrator.training.data.images.augmentation import EpochAugmentation, check_augmentation, draw_augmentation
from orchestrator.training.streams import stream

CPU = torch.device("cpu")
PIXELS = torch.randint(1, 256, (40, 3, 6, 9), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def drawn(images: int = 40, seed: int = 0, epoch: int = 1, **fields: object) -> EpochAugmentation:
    changes = draw_augmentation(AugmentationConfig.model_validate(fields), images, seed, epoch, CPU)
    assert changes is not None
    return changes


def one_by_one(pixels: Tensor, index: Tensor, changes: EpochAugmentation) -> Tensor:
    """Reference implementation that copies pixel by pixel. Pixels outside the image are black."""
    count, _, height, width = pixels.shape
    result = torch.zeros_like(pixels)
    for image in range(count):
        top, left = changes.offset[index[image]].tolist()
        for row in range(height):
            for column in range(width):
                source_row = row + top - changes.padding
                source_column = (width - 1 - column if changes.flip[index[image]] else column) + left - changes.padding
                if 0 <= source_row < height and 0 <= source_column < width:
                    result[image, :, row, column] = pixels[image, :, source_row, source_column]
    return result


@pytest.mark.parametrize("fields", [{"flip": True}, {"crop": 2}, {"flip": True, "crop": 4}])
def test_augmented_batch_equals_the_pixel_by_pixel_reference(fields: dict[str, object]) -> None:
    changes = drawn(**fields)
    index = torch.randperm(40, generator=stream(1, "a batch"))[:17]
    before = PIXELS[index]
    after = changes.apply(before.clone(), index)
    assert torch.equal(after, one_by_one(before, index, changes))
    assert not torch.equal(after, before)
    assert (after.dtype, after.shape) == (torch.uint8, before.shape)
    assert after.is_contiguous()


def test_flip_mirrors_and_central_crop_is_the_identity() -> None:
    index = torch.arange(40)
    mirror = EpochAugmentation(torch.ones(40, dtype=torch.bool), torch.full((40, 2), 3), 3)
    assert torch.equal(mirror.apply(PIXELS, index), PIXELS.flip(3))
    middle = EpochAugmentation(torch.zeros(40, dtype=torch.bool), torch.full((40, 2), 3), 3)
    assert torch.equal(middle.apply(PIXELS, index), PIXELS)


def test_input_batch_is_not_modified() -> None:
    before = PIXELS.clone()
    drawn(flip=True, crop=2).apply(PIXELS, torch.arange(40))
    assert torch.equal(before, PIXELS)


def test_flips_and_offsets_are_uniform() -> None:
    changes = drawn(images=20_000, flip=True, crop=2)
    assert abs(float(changes.flip.double().mean()) - 0.5) < 0.02
    for axis in (0, 1):
        counts = torch.bincount(changes.offset[:, axis], minlength=5)
        assert len(counts) == 5
        assert bool(((counts - 4000).abs() < 300).all())


def test_draws_depend_on_seed_and_epoch() -> None:
    first, again = drawn(flip=True, crop=3), drawn(flip=True, crop=3)
    assert torch.equal(first.flip, again.flip) and torch.equal(first.offset, again.offset)
    for other in (drawn(flip=True, crop=3, epoch=2), drawn(flip=True, crop=3, seed=1)):
        assert not torch.equal(first.flip, other.flip)
        assert not torch.equal(first.offset, other.offset)


def test_turning_off_flips_or_crops_does_not_change_the_other() -> None:
    both = drawn(flip=True, crop=3)
    assert torch.equal(drawn(flip=True).flip, both.flip)
    assert torch.equal(drawn(crop=3).offset, both.offset)
    assert not drawn(crop=3).flip.any()


def test_no_augmentation_if_flips_and_crops_are_off() -> None:
    assert draw_augmentation(AugmentationConfig(), 40, 0, 1, CPU) is None


def test_a_crop_that_could_miss_the_image_is_refused() -> None:
    check_augmentation(AugmentationConfig(crop=7), (1, 8, 10))
    with pytest.raises(ValueError, match=r"augmentation.crop is 8, expected less than the size of the images, 10x8: a"):
        check_augmentation(AugmentationConfig(crop=8), (1, 8, 10))
