"""Records the ``Retry-After`` header of failed requests, which MLflow's exceptions do not contain.

Import this module lazily, since it imports MLflow.
"""

import time
from typing import Any

from mlflow.utils import request_utils
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

LONGEST_SECONDS = 30.0
"""Longest wait, chosen so that a backlog is shipped within a minute of the tracker's recovery."""

_ask_again_at = 0.0


class _RecordingRetry(Retry):
    def increment(self, *args: Any, **kwargs: Any) -> Retry:  # type: ignore[override]
        response = kwargs.get("response")
        if response is not None:
            try:
                _record(self.get_retry_after(response))
            except InvalidHeader:
                _record(None)
        return super().increment(*args, **kwargs)


def record_retry_after() -> None:
    """Replaces the retry policy of MLflow's HTTP requests by one that records the header."""
    request_utils.Retry = _RecordingRetry  # type: ignore[attr-defined]


def seconds_to_wait() -> float:
    """Returns how much longer the tracker asked to wait, in seconds, at most `LONGEST_SECONDS`."""
    return max(0.0, min(_ask_again_at - time.monotonic(), LONGEST_SECONDS))


def _record(seconds: float | None) -> None:
    global _ask_again_at
    _ask_again_at = time.monotonic() + min(seconds or 0.0, LONGEST_SECONDS)
