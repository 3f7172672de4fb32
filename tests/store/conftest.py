"""Fixtures of the store's tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.store.backends.disk import DiskFiles
from orchestrator.store.trial import TrialStore
from tests.store.stored import config


@pytest.fixture(autouse=True, scope="module")
def _no_fsync() -> Iterator[None]:
    """Skips fsync, which is slow on a busy disk. No test simulates a power failure. Other modules need real syncs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture
def files(tmp_path: Path) -> DiskFiles:
    return DiskFiles(tmp_path)


@pytest.fixture
def trial(files: DiskFiles) -> TrialStore:
    return TrialStore(files, config().trial_id)
