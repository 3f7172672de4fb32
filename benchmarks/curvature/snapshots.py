"""Networks before and during training, for the lambda_max benchmark."""

import copy
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Tensor, nn

from benchmarks.harness.trials import trial_config
from orchestrator.study.parts.model_config import CnnConfig, MlpConfig
from orchestrator.study.parts.optimizer_config import AdamConfig, SgdConfig
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.environment import reproducible
from orchestrator.training.models.build import build_model
from orchestrator.training.optimizers.build import build_optimizer
from orchestrator.training.trainer import train_epoch

NETWORKS: dict[str, CnnConfig | MlpConfig] = {"cnn": CnnConfig(name="cnn"), "mlp": MlpConfig(name="mlp")}
# Settings for even and odd seeds, which lead to different spectra.
OPTIMIZERS: dict[str, tuple[SgdConfig | AdamConfig, ...]] = {
    "sgd": (SgdConfig(name="sgd", lr=0.05), SgdConfig(name="sgd", lr=0.01, momentum=0.9)),
    "adam": (AdamConfig(name="adam", lr=0.001), AdamConfig(name="adam", lr=0.0003)),
}
INIT = "init"


@dataclass(frozen=True)
class Snapshot:
    network: str
    optimizer: str
    """Name of the optimizer; ``-`` if untrained."""
    seed: int
    stage: str
    model: nn.Module
    """In eval mode."""

    @property
    def name(self) -> str:
        """Name such as ``cnn sgd 0 late``."""
        return f"{self.network} {self.optimizer} {self.seed} {self.stage}"


def untrained(network: str, data: DataSplits, seed: int) -> Snapshot:
    """The network before its first step."""
    model = build_model(NETWORKS[network], data.signature, seed)
    return Snapshot(network, "-", seed, INIT, model.eval())


def trained(
    network: str, optimizer: str, data: DataSplits, seed: int, stages: dict[str, int], threads: int
) -> Iterator[Snapshot]:
    """Trains with the training loop of a trial and yields a copy of the network after each stage.

    Bit-identical if repeated on the same machine.

    Args:
        network: one of ``NETWORKS``.
        optimizer: one of ``OPTIMIZERS``.
        data: the data set; all training images are used.
        seed: seed of the weights and of the order of the images. Its parity selects the optimizer settings.
        stages: maps the name of a stage to its epoch.
        threads: number of torch threads.
    """
    config = trial_config(OPTIMIZERS[optimizer][seed % 2], 64, max(stages.values()), seed)
    model = build_model(NETWORKS[network], data.signature, seed)
    steps = build_optimizer(config.optimizer, model.parameters())
    names = {epochs: stage for stage, epochs in stages.items()}
    for epoch in range(1, config.records + 1):
        with reproducible(threads):
            train_epoch(model, steps, data, config, epoch)
        if epoch in names:
            yield Snapshot(network, optimizer, seed, names[epoch], copy.deepcopy(model).eval())


def first(data: DataSplits, count: int) -> DataSplits:
    """The data set with its first `count` training images."""
    return replace(data, train=data.train[:count])


def digest(model: nn.Module, inputs: Tensor, labels: Tensor) -> str:
    """Digest of weights, images and labels, the key of a reference."""
    found = hashlib.sha256()
    for tensor in [*model.state_dict().values(), inputs, labels]:
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:24]
