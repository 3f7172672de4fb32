"""A sweep with planted coefficients."""

from dataclasses import replace

import numpy as np
import pytest

from orchestrator.store.frames import Frames
from tests.analysis import planted


@pytest.fixture(scope="session")
def frames() -> Frames:
    return planted.shift(np.random.default_rng(0), effect=-0.05, test=-0.002)


@pytest.fixture(scope="session")
def empty(frames: Frames) -> Frames:
    """The same sweep before it is run."""
    return replace(frames, epochs=frames.epochs.iloc[:0])
