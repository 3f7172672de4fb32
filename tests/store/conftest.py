"""What all tests of the store share."""

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def _no_fsync() -> Iterator[None]:
    """Skips fsync in this process: no test here cuts the power, and a loaded disk takes long for each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield
