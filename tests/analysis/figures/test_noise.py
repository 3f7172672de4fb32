"""Figure 4."""

from dataclasses import replace

from orchestrator.analysis.figures.noise import draw_noise, noise_data, summarise_noise
from orchestrator.store.frames import Frames
from orchestrator.store.gallery import Gallery


def test_pixels_equal_the_stored_example_images(full: Frames) -> None:
    assert not len(noise_data(full))
    gallery = Gallery((0.0, 0.25), ("cat", "dog"), (2, 2, 3, 1, 2), bytes(range(24)))
    data = noise_data(replace(full, gallery=gallery))
    pixel = data[(data.noise == 0.25) & (data.label == "dog") & (data.channel == 1) & (data.column == 0)]
    assert pixel.value.tolist() == [12 + 6 + 2]
    draw_noise(data)
    assert summarise_noise(data) == "Test images of cat, dog at noise 0, 0.25."
