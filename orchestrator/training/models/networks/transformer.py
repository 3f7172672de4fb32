"""A decoder-only transformer."""

from torch import Tensor, nn

from orchestrator.study.parts.model_config import TransformerConfig
from orchestrator.training.models.networks.attention import EMBEDDING_STD, AttentionBlocks
from orchestrator.training.models.signature import Signature, token_shape


class Transformer(nn.Module):
    """Predicts a token at every position from the tokens up to there (Radford et al., 2019).

    The output layer has no bias. If `tied`, it uses the weights of the token embedding. For targets per sequence, the
    output is that of the last position, which depends on all tokens.
    """

    def __init__(self, config: TransformerConfig, signature: Signature) -> None:
        super().__init__()
        length, vocabulary = token_shape(signature, config.name)
        if config.tied and signature.per_sequence:
            raise ValueError(
                "model transformer has tied: true, which needs tokens as targets, but the data has a target per "
                "sequence: set tied to false"
            )
        if config.tied and signature.outputs != vocabulary:
            raise ValueError(
                f"model transformer has tied: true, which needs equal vocabularies of inputs and outputs, but the data "
                f"has {vocabulary} and {signature.outputs} tokens: set tied to false"
            )
        self.tokens = nn.Embedding(vocabulary, config.width)
        nn.init.normal_(self.tokens.weight, std=EMBEDDING_STD)
        self.blocks = AttentionBlocks(config, length, causal=True)
        self.head = nn.Linear(config.width, signature.outputs, bias=False)
        if config.tied:
            self.head.weight = self.tokens.weight
        self._per_sequence = signature.per_sequence

    def forward(self, tokens: Tensor) -> Tensor:
        """Returns the outputs [n, positions, outputs] or [n, outputs] of token ids [n, positions]."""
        hidden = self.blocks(self.tokens(tokens))
        outputs: Tensor = self.head(hidden[:, -1] if self._per_sequence else hidden)
        return outputs
