"""The options of a config that change a loaded data set: classes, splits, normalisation and the distribution shift."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from orchestrator.study.parts.data_config import Data, NoiseShift, OwnShift
from orchestrator.training.data.data_splits import DataSplits, per_channel
from orchestrator.training.data.samples import DataError, Samples
from orchestrator.training.data.split import (
    OOD_STANDARD_DEVIATION,
    SPLIT_SEED,
    VALIDATION_FRACTION,
    channel_statistics,
    pixel_statistics,
    validation_size,
)
from orchestrator.training.streams import stream
from orchestrator.training.user_code.extension_point import ExtensionPoint, check_arguments

SHIFT = ExtensionPoint("data.shift", None, "a function shift(inputs, generator)")
_PIXEL_RANGE = 255.0


def with_options(data: DataSplits, config: Data) -> DataSplits:
    """Returns a loaded data set, split with the default fractions, with the options of its config applied.

    Raises:
        DataError: if a class does not exist, or too few samples are left.
        ValueError: if the user's own shift does not return inputs of the same shape.
        UserCodeError: if the user's own shift raises.
    """
    whole = data
    if (classes := _option(config, "classes")) is not None:
        data = _select_classes(data, classes)
    if data is not whole or config.validation_fraction != VALIDATION_FRACTION:
        data = _split(data, config.validation_fraction)
    check_train_subset(config, len(data.train))
    if config.train_subset is not None:
        data = replace(data, train=data.train[: config.train_subset])
    data = _normalised(data, _option(config, "normalise") or "channel", known=data is whole)
    return _shifted(data, _option(config, "shift"))


def _option(config: Data, name: str) -> Any:
    """Returns an option of a data set; None if it has none. Arguments of the user's function are not options."""
    return getattr(config, name) if name in type(config).model_fields else None


def check_train_subset(config: Data, samples: int) -> None:
    """Raises DataError if the config asks for more training samples than there are after the validation split."""
    if config.train_subset is not None and config.train_subset > samples:
        raise DataError(
            f"data.train_subset = {config.train_subset}: {config.name} has {samples} samples to train on, after "
            f"{config.validation_fraction:.0%} are held out for validation; take at most {samples}, or null for all of "
            "them"
        )


def _select_classes(data: DataSplits, chosen: int | Sequence[str]) -> DataSplits:
    """Returns the data of some classes, numbered from 0, with all training samples in the validation split."""
    if isinstance(chosen, int):
        if chosen > len(data.classes):
            raise DataError(f"data.classes is {chosen}, expected at most {len(data.classes)}, the number of classes")
        chosen = data.classes[:chosen]
    if unknown := [name for name in chosen if name not in data.classes]:
        raise DataError(f"data.classes names {unknown[0]!r}, expected some of {', '.join(data.classes)}")
    numbers = torch.full((len(data.classes),), -1)
    numbers[[data.classes.index(name) for name in chosen]] = torch.arange(len(chosen))
    train, validation, test = (_renumbered(part, numbers) for part in (data.train, data.validation, data.test))
    kept = numbers[data.test.targets] >= 0
    noise = data.ood_noise[kept]
    return replace(data, train=train, validation=validation, test=test, ood_noise=noise, classes=tuple(chosen))


def _renumbered(samples: Samples, numbers: Tensor) -> Samples:
    targets = numbers[samples.targets]
    return Samples(samples.inputs[targets >= 0], targets[targets >= 0])


def _split(data: DataSplits, fraction: float) -> DataSplits:
    """Returns the data with another share of the published training samples in the validation split."""
    pairs = zip(vars(data.validation).values(), vars(data.train).values(), strict=True)
    whole = Samples(*(torch.cat(pair) for pair in pairs))
    held_out = validation_size(len(whole), fraction)
    if held_out >= len(whole) or (fraction and not held_out):
        raise DataError(
            f"data.validation_fraction is {fraction}, which leaves {held_out} of {len(whole)} samples for validation "
            f"and {len(whole) - held_out} for training, expected at least one of each: use 0.0 for no validation"
        )
    return replace(data, train=whole[held_out:], validation=whole[:held_out])


def _normalised(data: DataSplits, normalise: str, known: bool) -> DataSplits:
    """Returns the data with the statistics of its training images. Other inputs are normalised when they are loaded."""
    if not data.has_images or (normalise == "channel" and known):
        return data
    if normalise == "none":
        zero = torch.zeros(())
        return replace(data, mean=zero, std=zero + _PIXEL_RANGE)
    if normalise == "pixel":
        mean, std = pixel_statistics(data.train.inputs)
        return replace(data, mean=mean.float(), std=std.float())
    mean, std = channel_statistics(data.train.inputs)
    return replace(data, mean=per_channel(mean), std=per_channel(std))


def _shifted(data: DataSplits, shift: NoiseShift | OwnShift | None) -> DataSplits:
    if isinstance(shift, OwnShift):
        inputs = _own_shift(shift, data)
        return replace(data, shifted=Samples(inputs, data.test.targets))
    if shift is None or shift == NoiseShift() or data.shifted:
        return data
    if shift.before and not data.has_images:
        raise DataError(
            f"data.shift.before is {shift.before}, but only images are normalised in a trial, and the inputs have the "
            f"shape {data.shape}: remove before"
        )
    noise = data.ood_noise * (shift.noise / OOD_STANDARD_DEVIATION)
    if shift.before:
        noise = noise * _PIXEL_RANGE / data.std
    return replace(data, ood_noise=noise)


def _own_shift(config: OwnShift, data: DataSplits) -> Tensor:
    function, inputs = SHIFT.find(config.name), data.normalise(data.test.inputs)
    name = f"data.shift {config.name!r}"

    def call() -> Any:
        generator = stream(SPLIT_SEED, "own shift")
        check_arguments(name, function, (inputs, generator), config.arguments)
        with SHIFT.errors(config.name, f"called with inputs of shape {tuple(inputs.shape)}"):
            return function(inputs.clone(), generator, **config.arguments)

    shifted = call()
    if not isinstance(shifted, Tensor) or shifted.shape != inputs.shape or shifted.dtype != inputs.dtype:
        found = f"{shifted.dtype} {tuple(shifted.shape)}" if isinstance(shifted, Tensor) else type(shifted).__name__
        raise ValueError(
            f"{name} returned {found}, expected {inputs.dtype} {tuple(inputs.shape)}: return a tensor like the inputs"
        )
    shifted = shifted.detach().to(inputs.device)
    if data.vocabulary is not None and not 0 <= int(shifted.min()) <= int(shifted.max()) < data.vocabulary:
        found = f"tokens {int(shifted.min())}..{int(shifted.max())}"
        raise ValueError(f"{name} returned {found}, expected tokens in 0..{data.vocabulary - 1}")
    if not bool(shifted.isfinite().all()):
        raise ValueError(f"{name} returned values that are not finite, expected finite numbers")
    again = call()
    if not (isinstance(again, Tensor) and torch.equal(shifted, again.to(inputs.device))):
        raise ValueError(
            f"{name} returned different inputs when it was called again: draw random numbers from its generator, or "
            "reruns would differ"
        )
    return shifted
