"""Limits torch to one thread, because tests run in parallel and the networks are tiny."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)
