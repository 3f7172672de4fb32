"""The SVG of a figure."""

import numpy as np

from orchestrator.analysis.figures.figure import svg
from orchestrator.analysis.figures.stopping import draw_stopping, stopping_data
from tests.analysis import planted


def test_svg_rounds_coordinates_but_not_labels() -> None:
    trials = [planted.trial(seed, 15, optimizer={"name": "adam", "lr": 0.00125}) for seed in range(2)]
    trials += [planted.trial(0, 15, optimizer={"name": "adam", "lr": 0.3})]
    found = planted.full(np.random.default_rng(0), trials)
    picture = svg(draw_stopping(stopping_data(found)), "figure6")
    assert "lr=0.00125" in picture
    assert "currentColor" in picture
    assert 'id="figure6-' in picture
