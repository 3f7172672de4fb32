"""The network and the trial configs of the benchmarks."""

from torch import nn

from orchestrator.study.config import MeasurementConfig, TrialConfig
from orchestrator.study.parts.data_config import TorchvisionData
from orchestrator.study.parts.model_config import CnnConfig
from orchestrator.study.parts.optimizer_config import Optimizer
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.models.build import build_model


def paper_cnn(data: DataSplits) -> nn.Module:
    """The paper's CNN with the weights of seed 0."""
    return build_model(CnnConfig(name="cnn"), data.signature, seed=0)


def trial_config(
    optimizer: Optimizer, batch_size: int, epochs: int, seed: int = 0, measurement: MeasurementConfig | None = None
) -> TrialConfig:
    """Config of a trial on CIFAR-10. Benchmarks pass their own images to the training loop."""
    return TrialConfig(
        data=TorchvisionData(name="cifar10"),
        optimizer=optimizer,
        batch_size=batch_size,
        epochs=epochs,
        seed=seed,
        measurement=measurement or MeasurementConfig(),
    )
