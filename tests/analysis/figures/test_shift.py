"""Figure 5."""

import numpy as np
import pytest

from orchestrator.analysis.figures.shift import shift_data
from orchestrator.store.frames import Frames


def test_line_is_the_least_squares_fit_of_the_changes(full: Frames) -> None:
    data = shift_data(full)
    slope, start = np.polyfit(data.x, data.y, 1)
    assert data.fit.to_numpy() == pytest.approx(start + slope * data.x.to_numpy())
    assert (data.low < data.fit).all()
    assert len(data) == 8 * 19
