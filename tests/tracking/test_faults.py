"""After network faults between shipper and tracker, the tracker has every stored epoch exactly once."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.store.trial_status import State
from orchestrator.tracking import retry_after
from orchestrator.tracking.policy import OUTAGE_REPORTS
from orchestrator.tracking.shipper import ship
from tests.tracking.processes import HURRIED, ShipperProcess, ShipperThread, driving, wait_until
from tests.tracking.proxy import WELL, Fault, Proxy, Request
from tests.tracking.stored import T0, assert_shows, manifest, sweep, train, trained


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shortens timeouts: a request times out after 1 s instead of 5, and a slow one takes 4 s instead of 30."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setattr(retry_after, "LONGEST_SECONDS", 2.0)


@pytest.fixture
def proxy(server: str) -> Iterator[Proxy]:
    with Proxy(server) as made:
        yield made


def always(fault: Fault) -> Callable[[Request], Fault]:
    return lambda request: fault


OUTAGES = {
    "black hole": Fault(delay=2.5, cut=True, times=0),
    "slow": Fault(delay=4.0),
    "500": Fault(status=500),
    "503": Fault(status=503),
    "429": Fault(status=429, headers=(("Retry-After", "1800"),)),
    "cut before": Fault(times=0, cut=True),
    "cut after": Fault(cut=True),
    "refused": WELL,
}


EVERY_DAY = ("429", "cut after")


@pytest.mark.parametrize(
    "kind", [kind if kind in EVERY_DAY else pytest.param(kind, marks=pytest.mark.slow) for kind in OUTAGES]
)
def test_an_outage_is_reported_twice_and_its_backlog_is_shipped_within_a_minute(
    kind: str, server: str, proxy: Proxy, tmp_path: Path
) -> None:
    name = f"outage-{kind.replace(' ', '-')}"
    desired = sweep(name=name, epochs=24)
    storage = manifest(tmp_path / "results", desired)
    with driving(storage, name) as driver:
        for config in desired.trials:
            train(storage, config, 0, 1)
        follower = ShipperThread(storage, name, proxy.uri)
        follower.start()
        wait_until(lambda: (status := storage.sweep(name).shipper_status()) is not None and status.pending_records == 0)
        assert follower.lines == []
        if kind == "refused":
            proxy.close()
        proxy.rule = always(OUTAGES[kind])
        asked, gone = len(proxy.requests), time.monotonic()
        slowest = 0.0
        for epoch in range(2, 24):
            for config in desired.trials:
                began = time.monotonic()
                train(storage, config, epoch, epoch)
                slowest = max(slowest, time.monotonic() - began)
            time.sleep(0.15)
        wait_until(lambda: bool(follower.lines))
        time.sleep(1.5)
        assert len(follower.lines) == 1, follower.lines
        assert follower.lines[0].startswith(f"tracker {proxy.uri} ")
        assert "; training goes on; " in follower.lines[0]
        status = storage.sweep(name).shipper_status()
        assert status is not None
        assert (status.state, status.pending_records >= 60) == ("unreachable", True)
        if kind == "429":
            assert len(proxy.requests) - asked <= 2 + (time.monotonic() - gone) / retry_after.LONGEST_SECONDS
        for config in desired.trials:
            train(storage, config, 24, 24, State.COMPLETED)
        if kind == "refused":
            proxy.open()
        proxy.rule = always(WELL)
        back, before = time.monotonic(), len(proxy.requests)
        wait_until(lambda: len(follower.lines) > 1)
        drained = time.monotonic() - back
        driver.release()
        result = follower.ended()
    assert_shows(server, storage, desired)
    assert result.complete
    rest = [
        line
        for line in follower.lines[1:]
        if not line.startswith("unanswered requests may still complete; checking again in 5 s")
    ]
    assert len(rest) == 2, follower.lines
    assert rest[0].startswith(f"tracker {proxy.uri} is back; ")
    assert rest[1].endswith(f"shipped to {proxy.uri}")
    assert drained < 60
    assert slowest < 10, "commits do not wait for the tracker"
    batches = [r for r in proxy.requests[before:] if "runs/log-batch" in r]
    # Per trial: 23 epochs, the description, the outcome, the metrics of its logged model, the tag that names the model.
    assert len(batches) <= 5 * len(desired.trials) + 2, "several epochs per request"


@pytest.mark.parametrize("kind", ["cut", "twice", pytest.param("late", marks=pytest.mark.slow)])
def test_lost_responses_change_nothing(kind: str, server: str, proxy: Proxy, tmp_path: Path, lines: list[str]) -> None:
    desired = sweep(name=f"lost-{kind}", seeds=1)
    storage = trained(tmp_path / "results", desired)
    hit: set[str] = set()

    def rule(request: Request) -> Fault:
        what = request.path.rpartition("/mlflow/")[2].partition("?")[0]
        key = f"{request.method} {what}"
        if request.method == "GET" or (key in hit and kind != "twice"):
            return WELL
        hit.add(key)
        return {"cut": Fault(cut=True), "late": Fault(delay=2.0), "twice": Fault(times=2)}[kind]

    proxy.rule = rule
    assert ship(storage, desired.name, proxy.uri, timing=replace(HURRIED, recheck=3.0)).complete, lines
    shown = assert_shows(server, storage, desired)
    assert set(shown.statuses().values()) == {"FINISHED"}
    assert {"POST runs/create", "POST runs/log-batch", "POST experiments/create"} <= hit
    assert len([line for line in lines if "cannot be reached" in line or "refuses" in line]) <= 3


def test_messages_about_an_unstable_tracker_are_limited(
    server: str, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desired = sweep(name="flapping", epochs=40)
    storage = manifest(tmp_path / "results", desired)
    with driving(storage, "flapping") as driver:
        follower = ShipperThread(storage, "flapping", proxy.uri)
        proxy.rule = lambda request: Fault(status=500) if request.number % 25 == 0 else WELL
        follower.start()
        for epoch in range(41):
            for config in desired.trials:
                train(storage, config, epoch, epoch, started_ms=T0)
            time.sleep(0.2)
        proxy.rule = always(WELL)
        for config in desired.trials:
            train(storage, config, 41, 40, State.COMPLETED, started_ms=T0)
        driver.release()
        assert follower.ended().complete
    assert_shows(server, storage, desired)
    away = [line for line in follower.lines if "; training goes on; " in line]
    assert len(away) == OUTAGE_REPORTS, follower.lines
    assert away[-1].endswith("; the tracker is unstable, further messages are suppressed for 10 minutes")
    assert sum(" is back; " in line for line in follower.lines) == OUTAGE_REPORTS


def killed_and_again(server: str, folder: Path, number: int, after: bool) -> None:
    """Kills a shipper at one request, before or after it is carried out, then ships again and compares."""
    desired = sweep(name=f"killed-{number}-{after}", seeds=1, epochs=60)
    storage = trained(folder / f"{number}-{after}", desired)
    with Proxy(server) as proxy:
        first = ShipperProcess(storage, desired.name, proxy.uri)

        def rule(request: Request) -> Fault:
            if request.number == number:
                if not after:
                    first.kill()
                else:
                    threading.Timer(0.3, first.kill).start()
                return Fault(cut=True) if after else Fault(times=0, cut=True)
            return WELL if request.number < number else Fault(delay=5, times=0, cut=True)

        proxy.rule = rule
        wait_until(lambda: first.poll() is not None, 60)
        proxy.rule = always(WELL)
        said = ShipperProcess(storage, desired.name, proxy.uri).final_lines()
    assert "complete=True" in said[-1], said
    shown = assert_shows(server, storage, desired)
    assert set(shown.statuses().values()) == {"FINISHED"}, (number, after)
    assert shown.sweep_run.info.status == "FINISHED"


def requests_of_a_shipping(server: str, folder: Path) -> int:
    """Returns the number of requests of an undisturbed shipper."""
    desired = sweep(name=f"counted-{folder.name}", seeds=1, epochs=60)
    with Proxy(server) as proxy:
        ShipperProcess(trained(folder / "counted", desired), desired.name, proxy.uri).final_lines()
        return len(proxy.requests)


def test_a_kill_at_some_requests_loses_and_doubles_nothing(server: str, tmp_path: Path) -> None:
    count = requests_of_a_shipping(server, tmp_path)
    assert count > 20
    for number in range(2, count + 1, max(1, count // 3)):
        killed_and_again(server, tmp_path, number, after=number % 2 == 0)


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True])
def test_a_kill_at_any_request_loses_and_doubles_nothing(server: str, after: bool, tmp_path: Path) -> None:
    for number in range(1, requests_of_a_shipping(server, tmp_path) + 1):
        killed_and_again(server, tmp_path, number, after)
