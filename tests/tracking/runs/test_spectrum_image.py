"""Images of spectra."""

import io

import numpy as np
import pytest
from PIL import Image

from orchestrator.tracking.runs.spectrum_image import BINS, SIZE, histogram, png, preview, spectrum_image

BAR = (0x21, 0x84, 0xC6)


def _bars(image: Image.Image) -> list[tuple[int, int]]:
    """The first column and the height in pixels of each separate group of blue columns."""
    blue = (np.asarray(image) == BAR).all(axis=2)
    heights = blue.sum(axis=0)
    starts = np.flatnonzero((heights[1:] > 0) & (heights[:-1] == 0)) + 1
    return [(int(start), int(heights[start])) for start in starts]


def test_shares_are_the_sums_of_weights() -> None:
    generator = np.random.default_rng(0)
    nodes, weights = generator.normal(size=500), generator.dirichlet(np.ones(500))
    edges, shares = histogram(nodes.tolist(), weights.tolist())
    assert len(shares) == BINS
    assert shares.sum() == pytest.approx(1.0)
    inside = (nodes >= edges[40]) & (nodes < edges[41])
    assert shares[40] == pytest.approx(weights[inside].sum())


@pytest.mark.parametrize("nodes", [(0.0,), (3.0,), (-2.0, -1.0)])
def test_zero_is_in_the_range(nodes: tuple[float, ...]) -> None:
    edges, shares = histogram(nodes, (1 / len(nodes),) * len(nodes))
    assert edges[0] < 0 < edges[-1]
    assert shares.sum() == pytest.approx(1.0)


def test_heights_are_logarithms() -> None:
    bars = _bars(spectrum_image((0.0, 5.0, 10.0), (0.989, 0.01, 0.001), "epoch 3"))
    assert [place for place, _ in bars] == sorted(place for place, _ in bars)
    (_, whole), (_, hundredth), (_, thousandth) = bars
    # The axis begins at the power of ten below the smallest share.
    assert hundredth / whole == pytest.approx((-2 + 4) / 4, abs=0.02)
    assert thousandth / whole == pytest.approx((-3 + 4) / 4, abs=0.02)


def test_images_are_reproducible_and_have_a_small_preview() -> None:
    first, second = (spectrum_image((0.0, 1.0), (0.9, 0.1), "epoch 3") for _ in range(2))
    assert png(first) == png(second)
    assert preview(first) == preview(second)
    assert Image.open(io.BytesIO(png(first))).size == SIZE
    assert Image.open(io.BytesIO(preview(first))).size == (256, 160)


def test_one_node_alone_is_drawn() -> None:
    assert len(_bars(spectrum_image((0.0,), (1.0,), "epoch 0"))) == 1
