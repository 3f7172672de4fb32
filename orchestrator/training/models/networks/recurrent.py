"""Recurrent networks over tokens."""

from torch import Tensor, nn

from orchestrator.study.model_config import GruConfig, LstmConfig
from orchestrator.training.models.signature import Signature, token_shape


class Recurrent(nn.Module):
    """An embedding, torch's LSTM or GRU from a zero state, and a linear output at every position."""

    def __init__(self, config: LstmConfig | GruConfig, signature: Signature) -> None:
        super().__init__()
        _, vocabulary = token_shape(signature, config.name)
        layers = nn.LSTM if config.name == "lstm" else nn.GRU
        self.tokens = nn.Embedding(vocabulary, config.width)
        self.recurrent = layers(config.width, config.width, config.depth, batch_first=True)
        self.head = nn.Linear(config.width, signature.outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """Returns the outputs [n, positions, outputs] of token ids [n, positions]."""
        hidden, _ = self.recurrent(self.tokens(tokens))
        outputs: Tensor = self.head(hidden)
        return outputs
