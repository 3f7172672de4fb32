"""Read-only frames shared by several tests."""

from dataclasses import replace

import numpy as np
import pytest

from orchestrator.store.frames import Frames
from tests.analysis import planted


@pytest.fixture(scope="session")
def full() -> Frames:
    """Eight trials of 20 epochs with all columns."""
    return planted.full(np.random.default_rng(0), planted.two_rates(4, 20))


@pytest.fixture(scope="session")
def real_targets(full: Frames) -> Frames:
    """The trials of `full` as regressions: R2 instead of accuracies."""
    names = {name: name.replace("accuracy", "r2") for name in full.epochs if name.startswith("accuracy")}
    epochs = full.epochs.drop(columns=list(names.values())).rename(columns=names)
    return replace(full, epochs=epochs.assign(**dict.fromkeys(names, np.nan)))
