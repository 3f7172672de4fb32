"""Test images at several strengths of noise, noted with a sweep so that its report can show them without the data."""

import base64
import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Gallery:
    """Images as a person sees them."""

    noise: tuple[float, ...]
    """Standard deviations, of normalised images."""
    labels: tuple[str, ...]
    """The class of each image."""
    shape: tuple[int, ...]
    """Strengths of noise, images, channels, height, width."""
    pixels: bytes
    """uint8, in that order."""

    def to_bytes(self) -> bytes:
        """As it is stored."""
        content = {"noise": self.noise, "labels": self.labels, "shape": self.shape}
        return json.dumps({**content, "pixels": base64.b64encode(self.pixels).decode()}, indent=1).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Gallery":
        """The inverse of `to_bytes`."""
        fields = json.loads(content)
        return cls(
            tuple(fields["noise"]),
            tuple(fields["labels"]),
            tuple(fields["shape"]),
            base64.b64decode(fields["pixels"]),
        )
