"""Recurrent networks over tokens."""

from torch import Tensor, nn

from orchestrator.study.parts.model_config import GruConfig, LstmConfig
from orchestrator.training.models.signature import Signature, token_shape


class Recurrent(nn.Module):
    """An embedding, torch's LSTM or GRU from a zero state, and a linear output at every position.

    For targets per sequence, the output is that of the last position.
    """

    def __init__(self, config: LstmConfig | GruConfig, signature: Signature) -> None:
        super().__init__()
        _, vocabulary = token_shape(signature, config.name)
        layers = nn.LSTM if config.name == "lstm" else nn.GRU
        self.tokens = nn.Embedding(vocabulary, config.width)
        self.recurrent = layers(config.width, config.width, config.depth, batch_first=True)
        self.head = nn.Linear(config.width, signature.outputs)
        self._per_sequence = signature.per_sequence

    def forward(self, tokens: Tensor) -> Tensor:
        """Returns the outputs [n, positions, outputs] or [n, outputs] of token ids [n, positions]."""
        hidden, _ = self.recurrent(self.tokens(tokens))
        outputs: Tensor = self.head(hidden[:, -1] if self._per_sequence else hidden)
        return outputs
