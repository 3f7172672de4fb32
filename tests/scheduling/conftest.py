"""Fixtures of the scheduling tests."""

import logging

import pytest

from tests.scheduling.desk import Desk


@pytest.fixture
def messages(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Captures the log messages shown to the user; `.messages` lists them."""
    caplog.set_level(logging.INFO, logger="orchestrator")
    return caplog


@pytest.fixture
def desk(messages: pytest.LogCaptureFixture) -> Desk:
    return Desk(messages)
