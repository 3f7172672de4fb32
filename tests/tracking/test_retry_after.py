"""The Retry-After header is respected up to a limit."""

import time

import pytest

from orchestrator.tracking import retry_after
from orchestrator.tracking.client import connect
from orchestrator.tracking.retry_after import LONGEST_SECONDS, seconds_to_wait
from tests.tracking.proxy import Fault, Proxy


@pytest.mark.parametrize(
    ("status", "asked", "least", "most"),
    [
        (429, "7", 5.0, 7.0),
        (503, "7", 5.0, 7.0),
        (429, "1800", LONGEST_SECONDS - 2, LONGEST_SECONDS),
        (429, "Fri, 31 Dec 2999 23:59:59 GMT", LONGEST_SECONDS - 2, LONGEST_SECONDS),
        (429, "soon", 0.0, 0.0),
        (429, None, 0.0, 0.0),
    ],
)
def test_retry_after_is_honoured_up_to_half_a_minute(
    status: int, asked: str | None, least: float, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry_after, "_ask_again_at", 0.0)
    with Proxy("http://127.0.0.1:9") as proxy:
        proxy.rule = lambda request: Fault(status=status, headers=(("Retry-After", asked),) if asked else ())
        client = connect(proxy.uri)
        began = time.monotonic()
        with pytest.raises(Exception, match=f"too many {status}"):
            client.search_experiments()
        assert time.monotonic() - began < 5, "no waiting inside a request"
    assert least <= seconds_to_wait() <= most
