"""Read-only frames shared by several tests."""

import numpy as np
import pytest

from orchestrator.store.frames import Frames
from tests.analysis import planted


@pytest.fixture(scope="session")
def full() -> Frames:
    """Eight trials of 20 epochs with all columns."""
    return planted.full(np.random.default_rng(0), planted.two_rates(4, 20))
