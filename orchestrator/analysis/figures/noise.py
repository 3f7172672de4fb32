"""Figure 4: test images with the noise that creates the distribution shift."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Canvas

from orchestrator.analysis.figures.figure import Figure, canvas, empty
from orchestrator.store.frames import Frames

_COLUMNS = ["noise", "image", "label", "channel", "row", "column", "value"]


def noise_data(frames: Frames, by: str | None = None) -> pd.DataFrame:
    """One row per pixel and channel of the stored example images. Values range from 0 to 255."""
    gallery = frames.gallery
    if gallery is None:
        return empty(_COLUMNS)
    pixels = np.frombuffer(gallery.pixels, dtype=np.uint8)
    strength, image, channel, row, column = np.unravel_index(np.arange(len(pixels)), gallery.shape)
    return pd.DataFrame(
        {
            "noise": np.array(gallery.noise)[strength],
            "image": image,
            "label": np.array(gallery.labels, dtype=object)[image],
            "channel": channel,
            "row": row,
            "column": column,
            "value": pixels,
        }
    )


def draw_noise(data: pd.DataFrame) -> Canvas:
    """One row per noise level, one column per image."""
    strengths, images = list(dict.fromkeys(data.noise)), list(dict.fromkeys(data.image))
    drawn, axes = canvas(len(strengths), len(images), width=1.25 * len(images) + 0.6, height=1.3)
    size = [int(data[name].max()) + 1 for name in ("row", "column", "channel")]
    for position, panel in enumerate(axes):
        strength, image = strengths[position // len(images)], images[position % len(images)]
        part = data[(data.noise == strength) & (data.image == image)].sort_values(["row", "column", "channel"])
        pixels = part.value.to_numpy().reshape(size)
        seen = pixels if size[2] == 3 else pixels[..., 0]
        panel.imshow(seen, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        panel.set_xticks([])
        panel.set_yticks([])
        if position < len(images):
            panel.set_title(str(part.label.iloc[0]))
        if position % len(images) == 0:
            panel.set_ylabel(f"noise {strength:g}")
    return drawn


def summarise_noise(data: pd.DataFrame) -> str:
    """Lists the classes of the images and the noise levels."""
    strengths = ", ".join(f"{strength:g}" for strength in dict.fromkeys(data.noise))
    return f"Test images of {', '.join(map(str, dict.fromkeys(data.label)))} at noise {strengths}."


FIGURE = Figure(
    "figure4",
    "Noise as a distribution shift",
    "The first test images of different classes. Gaussian noise of the given standard deviation is added to the "
    "normalised images; OOD accuracy is measured at 0.25. Values outside the pixel range are clipped for display.",
    "the example images that a run on images stores",
    noise_data,
    draw_noise,
    summarise_noise,
)
