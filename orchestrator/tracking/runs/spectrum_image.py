"""Draws a spectrum as a small image: the share of the eigenvalues in each bin, on a logarithmic scale.

The axes fit the spectrum of one record, so that the image depends on this record alone.
"""

import io
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

SIZE = (640, 400)
BINS = 120
DECADES = 9
"""Maximum number of decades of the vertical axis."""
PREVIEW = 256
"""Width of the preview in pixels, as MLflow has it."""
_LEFT, _TOP, _RIGHT, _BOTTOM = 64, 36, 620, 350
_BAR, _INK, _GRID = (0x21, 0x84, 0xC6), (0x1B, 0x1F, 0x24), (0xE3, 0xE6, 0xEA)
_Array = npt.NDArray[np.float64]


def histogram(nodes: Sequence[float], weights: Sequence[float]) -> tuple[_Array, _Array]:
    """The edges of the bins, [BINS + 1], and the share of the eigenvalues in each, [BINS]. Zero is in the range."""
    low, high = min(0.0, *nodes), max(0.0, *nodes)
    margin = 0.02 * (high - low) or 1.0
    shares, edges = np.histogram(nodes, BINS, (low - margin, high + margin), weights=weights)
    return edges, np.asarray(shares)


def spectrum_image(nodes: Sequence[float], weights: Sequence[float], title: str) -> "Image":
    """Draws a spectrum.

    Args:
        nodes: finite eigenvalues.
        weights: the positive share of each node; they sum to 1.
        title: text above the bars.
    """
    from PIL import Image, ImageDraw

    edges, shares = histogram(nodes, weights)
    image = Image.new("RGB", SIZE, "white")
    draw = ImageDraw.Draw(image)
    _draw_bars(draw, edges, shares)
    draw.line((_LEFT, _BOTTOM, _RIGHT, _BOTTOM), fill=_INK)
    for value in _ticks(float(edges[0]), float(edges[-1])):
        x = float(np.interp(value, edges[[0, -1]], (_LEFT, _RIGHT)))
        draw.line((x, _BOTTOM, x, _BOTTOM + 5), fill=_INK)
        _text(draw, (x, _BOTTOM + 14), f"{value:g}", "mm")
    _text(draw, (_LEFT, 16), title, "lm")
    _text(draw, ((_LEFT + _RIGHT) / 2, SIZE[1] - 14), "eigenvalue (bars: share of all eigenvalues)", "mm")
    return image


def _draw_bars(draw: "ImageDraw", edges: _Array, shares: _Array) -> None:
    """Draws the bars over lines at powers of ten."""
    bottom = _lowest_power(shares)
    height = _BOTTOM - _TOP
    for power in range(bottom, 1):
        y = _TOP + power / bottom * height
        draw.line((_LEFT, y, _RIGHT, y), fill=_GRID)
        _text(draw, (_LEFT - 8, y), f"1e{power}" if power else "1", "rm")
    x = np.interp(edges, edges[[0, -1]], (_LEFT, _RIGHT)).tolist()
    for position, share in enumerate(shares.tolist()):
        if share > 10.0**bottom:
            top = _TOP + math.log10(min(share, 1.0)) / bottom * height
            draw.rectangle((x[position], top, x[position + 1] - 1, _BOTTOM), fill=_BAR)


def png(image: "Image") -> bytes:
    """The image as PNG."""
    return _encoded(image, "PNG")


def preview(image: "Image") -> bytes:
    """A smaller copy as WebP, which MLflow shows in its image grid."""
    return _encoded(image.resize((PREVIEW, image.height * PREVIEW // image.width)), "WEBP")


def _encoded(image: "Image", kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def _lowest_power(shares: _Array) -> int:
    """The power of ten below the smallest share."""
    smallest = float(shares[shares > 0].min())
    return max(-DECADES, math.ceil(math.log10(min(smallest, 1.0))) - 1)


def _ticks(low: float, high: float) -> Iterator[float]:
    """Yields about five round numbers in a range."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    for count in range(math.ceil(low / step), math.floor(high / step) + 1):
        yield float(f"{count * step:.6g}")


def _text(draw: "ImageDraw", position: tuple[float, float], text: str, anchor: str) -> None:
    from PIL import ImageFont

    draw.text(position, text, fill=_INK, font=ImageFont.load_default(13), anchor=anchor)
