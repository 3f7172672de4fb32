"""Fixtures of the scheduling tests."""

import logging

import pytest


@pytest.fixture
def messages(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Captures what is logged for the user; `.messages` lists it."""
    caplog.set_level(logging.INFO, logger="hessian_dynamics")
    return caplog
