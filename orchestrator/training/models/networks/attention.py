"""The attention blocks of `vit` and `transformer`."""

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from orchestrator.study.parts.model_config import TransformerConfig, VitConfig

EMBEDDING_STD = 0.02
"""Standard deviation of initial embeddings, as in GPT-2 and ViT. Torch's default is 1."""


class AttentionBlocks(nn.Module):
    """Adds learned positions to embeddings [n, length, width], then applies attention blocks and layer norm.

    A block is torch's encoder layer with layer norm before attention and before the two linear layers, which have
    4 `width` hidden units and GELU. Dropout follows both, and applies to hidden units and attention weights.
    """

    def __init__(self, config: VitConfig | TransformerConfig, length: int, causal: bool) -> None:
        super().__init__()
        self.positions = nn.Embedding(length, config.width)
        nn.init.normal_(self.positions.weight, std=EMBEDDING_STD)
        # Not nn.TransformerEncoder, whose layers start as copies with equal weights.
        self.blocks = nn.ModuleList(_block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)
        mask = torch.ones(length, length, dtype=torch.bool).triu(1) if causal else None
        self.register_buffer("mask", mask, persistent=False)
        self._causal = causal

    def forward(self, embeddings: Tensor) -> Tensor:
        """Returns [n, length, width]. If causal, no position depends on later ones."""
        samples, length, _ = embeddings.shape
        # One row of indices per sample, so that the embedding has per-sample gradients.
        positions = torch.arange(length, device=embeddings.device).expand(samples, length)
        outputs = embeddings + self.positions(positions)
        # The fused kernels have no second derivative, and their gradients on CUDA need not be deterministic.
        with sdpa_kernel(SDPBackend.MATH):
            for block in self.blocks:
                outputs = block(outputs, src_mask=self.mask, is_causal=self._causal)
        normalised: Tensor = self.norm(outputs)
        return normalised


def _block(config: VitConfig | TransformerConfig) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(
        config.width,
        config.heads,
        dim_feedforward=4 * config.width,
        dropout=config.dropout,
        activation="gelu",
        batch_first=True,
        norm_first=True,
    )
