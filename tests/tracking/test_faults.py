"""A tracker behind a network that fails in every way: what is shown in the end is what is stored, once."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.store.storage import Storage
from orchestrator.store.trial_status import State
from orchestrator.tracking import outage, rate_limit, shipper
from orchestrator.tracking.shipper import ShippingResult, ship
from tests.tracking.processes import Shipping, driving, release, wait_until
from tests.tracking.proxy import WELL, Fault, Proxy, Request
from tests.tracking.stored import T0, assert_shows, manifest, sweep, train, trained


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half an hour in seconds: a request is given up after 1 s in place of 5, a slow one takes 4 s in place of 30."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setattr(shipper, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(shipper, "DOUBT_SECONDS", 5.0)
    monkeypatch.setattr(outage, "LONGEST_PAUSE_SECONDS", 0.5)
    monkeypatch.setattr(rate_limit, "LONGEST_SECONDS", 2.0)


@pytest.fixture
def proxy(server: str) -> Iterator[Proxy]:
    with Proxy(server) as made:
        yield made


class Follower(threading.Thread):
    """`ship --follow` in this process, where its constants are the hurried ones."""

    def __init__(self, storage: Storage, name: str, uri: str) -> None:
        super().__init__(daemon=True)
        self.lines: list[str] = []
        self.result: ShippingResult | None = None
        self._arguments = (storage, name, uri, True, self.lines.append)

    def run(self) -> None:
        self.result = ship(*self._arguments)

    def ended(self) -> ShippingResult:
        self.join(90)
        assert self.result is not None, self.lines
        return self.result


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


EVERY_DAY = ("slow", "429", "cut after")


@pytest.mark.parametrize(
    "kind", [kind if kind in EVERY_DAY else pytest.param(kind, marks=pytest.mark.slow) for kind in OUTAGES]
)
def test_a_long_outage_is_told_twice_and_made_good_within_a_minute(
    kind: str, server: str, proxy: Proxy, tmp_path: Path
) -> None:
    name = f"outage-{kind.replace(' ', '-')}"
    desired = sweep(name=name, epochs=24)
    storage = manifest(tmp_path / "results", desired)
    with driving(storage, name) as driver:
        for config in desired.trials:
            train(storage, config, 0, 1)
        follower = Follower(storage, name, proxy.uri)
        follower.start()
        wait_until(lambda: (status := storage.sweep(name).shipper_status()) is not None and status.pending_epochs == 0)
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
        assert (status.state, status.pending_epochs >= 60) == ("unreachable", True)
        if kind == "429":
            assert len(proxy.requests) - asked <= 2 + (time.monotonic() - gone) / rate_limit.LONGEST_SECONDS
        for config in desired.trials:
            train(storage, config, 24, 24, State.COMPLETED)
        if kind == "refused":
            proxy.open()
        proxy.rule = always(WELL)
        back, before = time.monotonic(), len(proxy.requests)
        wait_until(lambda: len(follower.lines) > 1)
        drained = time.monotonic() - back
        release(driver)
        result = follower.ended()
    assert_shows(server, storage, desired)
    assert result.complete
    told = [line for line in follower.lines[1:] if not line.startswith("looking again in 5 s")]
    assert len(told) == 2, follower.lines
    assert told[0].startswith(f"tracker {proxy.uri} is back; ")
    assert told[1].endswith(f"shipped to {proxy.uri}")
    assert drained < 20
    assert slowest < 2, "a commit on a busy machine takes a moment, an outage seconds"
    batches = [r for r in proxy.requests[before:] if "runs/log-batch" in r]
    # A trial: its 23 epochs, what it is, how it ended.
    assert len(batches) <= 3 * len(desired.trials) + 2, "several epochs a request"


@pytest.mark.parametrize("kind", ["cut", "late", "twice"])
def test_every_request_that_is_carried_out_though_its_answer_is_lost_changes_nothing(
    kind: str, server: str, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipper, "ONE_SHOT_PATIENCE_SECONDS", 60.0)
    monkeypatch.setattr(shipper, "DOUBT_SECONDS", 3.0)
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
    lines: list[str] = []
    assert ship(storage, desired.name, proxy.uri, False, lines.append).complete, lines
    shown = assert_shows(server, storage, desired)
    assert set(shown.statuses().values()) == {"FINISHED"}
    assert {"POST runs/create", "POST runs/log-batch", "POST experiments/create"} <= hit
    assert len([line for line in lines if "cannot be reached" in line or "refuses" in line]) <= 3


def test_a_tracker_that_fails_every_now_and_then_is_not_told_of_by_the_minute(
    server: str, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desired = sweep(name="flapping", epochs=40)
    storage = manifest(tmp_path / "results", desired)
    with driving(storage, "flapping") as driver:
        follower = Follower(storage, "flapping", proxy.uri)
        proxy.rule = lambda request: Fault(status=500) if request.number % 25 == 0 else WELL
        follower.start()
        for epoch in range(41):
            for config in desired.trials:
                train(storage, config, epoch, epoch, started_ms=T0)
            time.sleep(0.2)
        proxy.rule = always(WELL)
        for config in desired.trials:
            train(storage, config, 41, 40, State.COMPLETED, started_ms=T0)
        release(driver)
        assert follower.ended().complete
    assert_shows(server, storage, desired)
    away = [line for line in follower.lines if "; training goes on; " in line]
    assert len(away) == outage.TOLD_OUTAGES, follower.lines
    assert away[-1].endswith("; it comes and goes, of which no more is said for 10 minutes")
    assert sum(" is back; " in line for line in follower.lines) == outage.TOLD_OUTAGES


def killed_and_again(server: str, folder: Path, number: int, after: bool) -> None:
    """Kills a shipper when its request comes through, before or after it is carried out; ships again; compares."""
    desired = sweep(name=f"killed-{number}-{after}", seeds=1, epochs=60)
    storage = trained(folder / f"{number}-{after}", desired)
    with Proxy(server) as proxy:
        first = Shipping(storage, desired.name, proxy.uri)

        def rule(request: Request) -> Fault:
            if request.number == number:
                if not after:
                    first.kill()
                else:
                    threading.Timer(0.3, first.kill).start()
                return Fault(cut=True) if after else Fault(times=0, cut=True)
            return WELL if request.number < number else Fault(delay=5, times=0, cut=True)

        proxy.rule = rule
        wait_until(lambda: not first.alive, 60)
        proxy.rule = always(WELL)
        said = Shipping(storage, desired.name, proxy.uri).said()
    assert "complete=True" in said[-1], said
    shown = assert_shows(server, storage, desired)
    assert set(shown.statuses().values()) == {"FINISHED"}, (number, after)
    assert shown.sweep_run.info.status == "FINISHED"


def requests_of_a_shipping(server: str, folder: Path) -> int:
    """How many there are, were nobody killed."""
    desired = sweep(name=f"counted-{folder.name}", seeds=1, epochs=60)
    with Proxy(server) as proxy:
        Shipping(trained(folder / "counted", desired), desired.name, proxy.uri).said()
        return len(proxy.requests)


def test_a_shipper_killed_at_some_requests_loses_and_doubles_nothing(server: str, tmp_path: Path) -> None:
    count = requests_of_a_shipping(server, tmp_path)
    assert count > 20
    for number in range(2, count + 1, max(1, count // 6)):
        killed_and_again(server, tmp_path, number, after=number % 2 == 0)


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True])
def test_a_shipper_killed_at_any_request_loses_and_doubles_nothing(server: str, after: bool, tmp_path: Path) -> None:
    for number in range(1, requests_of_a_shipping(server, tmp_path) + 1):
        killed_and_again(server, tmp_path, number, after)
