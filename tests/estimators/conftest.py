"""Tests run with one thread, because they run in parallel on tiny networks, and with a fixed seed."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    # Networks have the same weights in every order of the tests.
    torch.manual_seed(0)
