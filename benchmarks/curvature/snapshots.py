"""Networks as they stand at the start, early, in the middle and late in training: what lambda_max is measured on."""

import copy
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Tensor, nn

from orchestrator.study.config import TrialConfig
from orchestrator.study.data_config import TorchvisionData
from orchestrator.study.model_config import CnnConfig, MlpConfig
from orchestrator.study.optimizer_config import AdamConfig, SgdConfig
from orchestrator.training.data.datasets import ResidentData
from orchestrator.training.environment import reproducible
from orchestrator.training.loop import train_epoch
from orchestrator.training.models.networks import build_model
from orchestrator.training.optimizers.build import build_optimizer

NETWORKS: dict[str, CnnConfig | MlpConfig] = {"cnn": CnnConfig(name="cnn"), "mlp": MlpConfig(name="mlp")}
# By even and odd seeds: a single way to train would be a single kind of spectrum.
OPTIMIZERS: dict[str, tuple[SgdConfig | AdamConfig, ...]] = {
    "sgd": (SgdConfig(name="sgd", lr=0.05), SgdConfig(name="sgd", lr=0.01, momentum=0.9)),
    "adam": (AdamConfig(name="adam", lr=0.001), AdamConfig(name="adam", lr=0.0003)),
}
INIT = "init"


@dataclass(frozen=True)
class Snapshot:
    """A network where its training stood."""

    network: str
    optimizer: str
    """``-`` before the first step."""
    seed: int
    stage: str
    model: nn.Module
    """In eval mode, its own copy."""

    @property
    def name(self) -> str:
        """``cnn sgd 0 late``."""
        return f"{self.network} {self.optimizer} {self.seed} {self.stage}"


def untrained(network: str, data: ResidentData, seed: int) -> Snapshot:
    """The network of a seed before its first step."""
    model = build_model(NETWORKS[network], data.shape, len(data.classes), seed)
    return Snapshot(network, "-", seed, INIT, model.eval())


def trained(
    network: str, optimizer: str, data: ResidentData, seed: int, stages: dict[str, int], threads: int
) -> Iterator[Snapshot]:
    """The network after the epochs of every stage, by the loop of a trial; the same bits on the same machine.

    Args:
        network: one of ``NETWORKS``.
        optimizer: one of ``OPTIMIZERS``.
        data: trained on its training images, all of them.
        seed: of weights and order; even and odd ones take different rates.
        stages: epochs by name, ascending.
        threads: of torch.
    """
    config = TrialConfig(
        data=TorchvisionData(name="cifar10"),  # its name only: the images are the given ones
        optimizer=OPTIMIZERS[optimizer][seed % 2],
        batch_size=64,
        epochs=max(stages.values()),
        seed=seed,
    )
    model = build_model(NETWORKS[network], data.shape, len(data.classes), seed)
    steps = build_optimizer(config.optimizer, model.parameters())
    names = {epochs: stage for stage, epochs in stages.items()}
    for epoch in range(1, config.epochs + 1):
        with reproducible(threads):
            train_epoch(model, steps, data, config, epoch)
        if epoch in names:
            yield Snapshot(network, optimizer, seed, names[epoch], copy.deepcopy(model).eval())


def first(data: ResidentData, count: int) -> ResidentData:
    """The data set with so many training images."""
    return replace(data, train=data.train[:count])


def digest(model: nn.Module, inputs: Tensor, labels: Tensor) -> str:
    """Of every weight, image and label: what a reference belongs to."""
    found = hashlib.sha256()
    for tensor in [*model.state_dict().values(), inputs, labels]:
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:24]
