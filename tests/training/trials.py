"""Small trials for tests."""

from typing import Any

import torch

from orchestrator.study.config import TrialConfig
from orchestrator.study.data_config import DigitsData
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.datasets import load_data

CPU = torch.device("cpu")


def small_trial(**fields: Any) -> TrialConfig:
    """Returns a trial on the digits that takes seconds."""
    content = {
        "data": {"name": "digits"},
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
