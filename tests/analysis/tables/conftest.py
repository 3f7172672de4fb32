"""Epochs with planted coefficients."""

import numpy as np
import pandas as pd
import pytest

from tests.analysis import planted


@pytest.fixture(scope="session")
def epochs() -> pd.DataFrame:
    return planted.shift(np.random.default_rng(0), effect=-0.05, test=-0.002).epochs
