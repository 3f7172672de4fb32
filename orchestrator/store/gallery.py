"""Test images at several noise levels, stored with a sweep so that its report does not need the data set."""

import base64
import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Gallery:
    """Images for display."""

    noise: tuple[float, ...]
    """Standard deviations of the noise, in units of the normalised images."""
    labels: tuple[str, ...]
    """The class of each image."""
    shape: tuple[int, ...]
    """(noise levels, images, channels, height, width)."""
    pixels: bytes
    """uint8 values of an array of this shape, in row-major order."""

    def to_bytes(self) -> bytes:
        """The gallery as JSON, with the pixels in Base64."""
        return json.dumps({**asdict(self), "pixels": base64.b64encode(self.pixels).decode()}, indent=1).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Gallery":
        """Parses the content of a gallery file.

        Raises:
            ValueError, TypeError, KeyError: the content is damaged.
        """
        fields = json.loads(content)
        noise, labels, shape = (tuple(fields[name]) for name in ("noise", "labels", "shape"))
        return cls(noise, labels, shape, base64.b64decode(fields["pixels"]))
