"""How long a busy tracker asks its clients to wait: ``Retry-After``, which MLflow reads and does not tell."""

import time
from typing import Any

LONGEST_SECONDS = 30.0
"""Whatever it asks for: once it is well again, what waits is to be there within a minute."""

_asked_until = 0.0


def listen() -> None:
    """Notes from here on what the answers to MLflow's requests ask for."""
    from mlflow.utils import request_utils
    from urllib3.exceptions import InvalidHeader
    from urllib3.util import Retry

    class Noting(Retry):
        def increment(
            self,
            method: str | None = None,
            url: str | None = None,
            response: Any = None,
            error: Exception | None = None,
            _pool: Any = None,
            _stacktrace: Any = None,
        ) -> "Noting":
            if response is not None:
                try:
                    _note(self.get_retry_after(response))
                except InvalidHeader:
                    _note(None)
            return super().increment(method, url, response, error, _pool, _stacktrace)

    request_utils.Retry = Noting  # type: ignore[attr-defined]


def seconds_to_wait() -> float:
    """Until the tracker wants to be asked again, `LONGEST_SECONDS` at most; 0.0 where it said nothing of it."""
    return max(0.0, min(_asked_until - time.monotonic(), LONGEST_SECONDS))


def _note(seconds: float | None) -> None:
    global _asked_until
    _asked_until = time.monotonic() + min(seconds or 0.0, LONGEST_SECONDS)
