"""Small trials for tests."""

from dataclasses import replace
from typing import Any

import torch

from orchestrator.study.config import TrialConfig
from orchestrator.study.parts.data_config import DigitsData
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.datasets import load_data
from orchestrator.training.data.samples import Samples

CPU = torch.device("cpu")


def small_trial(**fields: Any) -> TrialConfig:
    """Returns a trial of a small MLP on the digits that takes less than a second an epoch."""
    content = {
        "data": {"name": "digits"},
        "model": {"name": "mlp", "hidden": [20, 10]},
        "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9},
        "batch_size": 64,
        "epochs": 2,
        "measurement": {"fraction": 0.05, "lanczos_products": 3, "algorithm1_iterations": 2, "algorithm1_probes": 2},
        **fields,
    }
    return TrialConfig.model_validate(content)


def digits() -> DataSplits:
    """Returns the digits, on the CPU."""
    return load_data(DigitsData(name="digits"), CPU)


def few_digits() -> DataSplits:
    """Returns 320 training images of the digits and 100 of each other split, on the CPU."""
    data = digits()
    return replace(
        data,
        train=data.train[:320],
        validation=data.validation[:100],
        test=data.test[:100],
        ood_noise=data.ood_noise[:100],
    )


def few_colour_digits() -> DataSplits:
    """Returns `few_digits` with two mirrored copies of each image as further channels."""
    data = few_digits()

    def coloured(samples: Samples) -> Samples:
        images = samples.inputs
        return Samples(torch.cat([images, images.flip(2), images.flip(3)], dim=1), samples.targets)

    return replace(
        data,
        train=coloured(data.train),
        validation=coloured(data.validation),
        test=coloured(data.test),
        ood_noise=data.ood_noise.expand(-1, 3, -1, -1),
    )
