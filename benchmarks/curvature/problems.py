"""A model, its loss and samples, for every implementation that is compared; and one such problem per network family."""

import copy
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from benchmarks.harness.images import batch
from orchestrator.study.parts.model_config import (
    CnnConfig,
    LstmConfig,
    MlpConfig,
    Model,
    ResnetConfig,
    TransformerConfig,
    VitConfig,
)
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.models.build import build_model
from orchestrator.training.models.signature import Signature

VOCABULARY, CONTEXT = 32, 32
"""Number of different tokens, and number of tokens in a sequence."""


@dataclass(frozen=True)
class PeerProblem:
    """A model in eval mode, and the samples over which its mean loss is taken."""

    model: nn.Module
    inputs: Tensor
    targets: Tensor
    loss: nn.Module = field(default_factory=nn.CrossEntropyLoss)
    """Maps outputs and targets to a mean over samples. curvlinops reads its attribute `reduction`."""

    @property
    def device(self) -> torch.device:
        return self.inputs.device

    @property
    def size(self) -> int:
        """Number of entries of all parameters."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def part(self, count: int) -> "PeerProblem":
        """The same problem on the first `count` samples."""
        return PeerProblem(self.model, self.inputs[:count], self.targets[:count], self.loss)

    def batches(self, size: int) -> list[tuple[Tensor, Tensor]]:
        return list(zip(self.inputs.split(size), self.targets.split(size), strict=True))

    def copied_model(self) -> nn.Module:
        """A copy of the model, because some libraries leave gradients and graphs in it."""
        return copy.deepcopy(self.model)


class TokenCrossEntropy(nn.CrossEntropyLoss):
    """The mean cross-entropy over samples and positions, of outputs [n, positions, vocabulary]."""

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return super().forward(outputs.flatten(0, 1), targets.flatten())


@dataclass(frozen=True)
class Family:
    """A network family, with the number of samples over which a product takes about a second on one thread."""

    title: str
    config: Model
    samples: int

    @property
    def reads_tokens(self) -> bool:
        return isinstance(self.config, LstmConfig | TransformerConfig)


FAMILIES: dict[str, Family] = {
    "mlp": Family("MLP, GELU", MlpConfig(name="mlp", hidden=(1024, 1024), activation="gelu"), 1000),
    "cnn": Family("CNN", CnnConfig(name="cnn"), 500),
    "resnet": Family("ResNet-8, group norm", ResnetConfig(name="resnet", depth=8, norm="group"), 200),
    "vit": Family("ViT", VitConfig(name="vit"), 100),
    "lstm": Family("LSTM", LstmConfig(name="lstm"), 200),
    "transformer": Family("Transformer", TransformerConfig(name="transformer"), 200),
}


def family_problem(family: Family, count: int, images: DataSplits) -> PeerProblem:
    """The untrained network of seed 0 on `count` samples: the first training images, or random token sequences."""
    if not family.reads_tokens:
        model = build_model(family.config, images.signature, seed=0)
        return PeerProblem(model.eval(), *batch(images, count))
    model = build_model(family.config, Signature((CONTEXT,), VOCABULARY, VOCABULARY), seed=0)
    tokens = torch.randint(VOCABULARY, (2, count, CONTEXT), generator=torch.Generator().manual_seed(0))
    return PeerProblem(model.eval(), tokens[0], tokens[1], TokenCrossEntropy())
