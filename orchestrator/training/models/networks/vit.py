"""A vision transformer."""

from torch import Tensor, nn

from orchestrator.study.parts.model_config import VitConfig
from orchestrator.training.models.networks.attention import AttentionBlocks
from orchestrator.training.models.signature import Signature, image_shape


class Vit(nn.Module):
    """Attention over square patches of the image (Dosovitskiy et al., 2021), then the mean over patches.

    The mean replaces the class token, as in Beyer et al. (2022).
    """

    def __init__(self, config: VitConfig, signature: Signature) -> None:
        super().__init__()
        channels, height, width = image_shape(signature, config.name)
        patch = config.patch
        if height % patch or width % patch:
            sizes = ", ".join(
                str(size) for size in range(1, min(height, width) + 1) if not (height % size or width % size)
            )
            raise ValueError(
                f"model vit has patch {patch}, expected a divisor of height and width of the images, which have "
                f"{width}x{height} pixels: set patch to one of {sizes}"
            )
        self.patches = nn.Conv2d(channels, config.width, patch, stride=patch)
        self.blocks = AttentionBlocks(config, (height // patch) * (width // patch), causal=False)
        self.head = nn.Linear(config.width, signature.outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Returns the outputs [n, outputs] of images [n, channels, height, width]."""
        embeddings = self.patches(images).flatten(2).mT
        outputs: Tensor = self.head(self.blocks(embeddings).mean(dim=1))
        return outputs
