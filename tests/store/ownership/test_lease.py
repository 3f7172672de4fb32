"""A lease has one holder at a time, and is free immediately after its holder dies."""

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from orchestrator.store.backends.disk import DiskFiles
from orchestrator.store.errors import StorageError
from orchestrator.store.ownership import lease as lease_module
from orchestrator.store.ownership.lease import EXPIRY_SECONDS, Holder, Lease, LeaseHeldError, LeaseLostError
from tests.store.stored import kill, python, running

FOLDER = "sweeps/night"
HOLDING = """
    with Lease(DiskFiles(stored.Path(sys.argv[1])), "sweeps/night", "driver"):
        print("ready", flush=True)
        time.sleep(60)
"""


def driver(files: DiskFiles) -> Lease:
    return Lease(files, FOLDER, "driver")


@pytest.fixture
def other(files: DiskFiles) -> Iterator["subprocess.Popen[str]"]:
    """A process that holds the lease."""
    with running(HOLDING, files.root) as process:
        yield process


def written(files: DiskFiles) -> Holder:
    """The holder in the newest file."""
    name = files.list(f"{FOLDER}/driver-lease")[-1]
    return Holder(**json.loads(files.read(f"{FOLDER}/driver-lease/{name}") or b""))


def write(files: DiskFiles, holder: Holder, seconds_ago: float = 0.0) -> None:
    name = f"{FOLDER}/driver-lease/000007.json"
    files.write(name, json.dumps(asdict(holder)).encode())
    then = time.time() - seconds_ago
    os.utime(files.root / name, (then, then))


@pytest.fixture
def ours(files: DiskFiles) -> Holder:
    """The holder as stored when this process takes the lease."""
    with driver(files):
        return written(files)


def test_a_new_lease_is_free(files: DiskFiles) -> None:
    assert driver(files).holder() is None


def test_the_holder_is_this_process(files: DiskFiles) -> None:
    with driver(files):
        holder = driver(files).holder()
        assert holder is not None
        assert (holder.host, holder.pid, holder.process.alive) == (socket.gethostname(), os.getpid(), True)
        assert abs(holder.since - time.time()) < 10


def test_only_the_first_lease_is_withdrawn(files: DiskFiles) -> None:
    folder = f"{FOLDER}/driver-lease"
    with driver(files) as lease:
        lease.withdraw()
        assert driver(files).holder() is not None
    assert files.list(folder) == []
    with driver(files) as lease:
        assert lease.number == 1
    with driver(files) as lease:
        lease.withdraw()
    assert files.list(folder) == ["000002.json"]
    assert driver(files).holder() is None


def test_a_second_process_is_refused_with_the_holders_name(files: DiskFiles, other: "subprocess.Popen[str]") -> None:
    with pytest.raises(LeaseHeldError) as caught, driver(files):
        pass
    assert re.fullmatch(
        rf"night: another driver is running: process {other.pid} on {re.escape(socket.gethostname())}, "
        r"since \d{4}-\d\d-\d\d \d\d:\d\d",
        str(caught.value),
    )
    holder = driver(files).holder()
    assert holder is not None
    assert holder.pid == other.pid


def test_a_second_holder_in_the_same_process_is_refused(files: DiskFiles) -> None:
    with driver(files):
        with pytest.raises(LeaseHeldError, match=f"process {os.getpid()} on "), driver(files):
            pass
        assert driver(files).holder() is not None


def test_the_lease_of_a_killed_holder_is_free(files: DiskFiles, other: "subprocess.Popen[str]") -> None:
    kill(other)
    began = time.monotonic()
    assert driver(files).holder() is None
    with driver(files) as lease:
        holder = lease.holder()
        assert holder is not None
        assert holder.pid == os.getpid()
    assert time.monotonic() - began < 5


def test_the_lease_of_a_zombie_is_free(files: DiskFiles, other: "subprocess.Popen[str]") -> None:
    other.send_signal(signal.SIGKILL)
    until = time.monotonic() + 10
    while driver(files).holder() is not None and time.monotonic() < until:
        time.sleep(0.01)
    assert driver(files).holder() is None
    assert Path(f"/proc/{other.pid}").exists(), "its parent has reaped it, so this test checks nothing"


def test_a_released_lease_is_free(files: DiskFiles) -> None:
    for _ in range(3):
        with driver(files):
            assert driver(files).holder() is not None
        assert driver(files).holder() is None
    assert len(files.list(f"{FOLDER}/driver-lease")) == 1, "old files are deleted"


def test_a_lease_is_released_by_an_error_too(files: DiskFiles) -> None:
    with pytest.raises(KeyError), driver(files):
        raise KeyError
    assert driver(files).holder() is None


def test_leases_of_different_purposes_and_sweeps_are_independent(files: DiskFiles) -> None:
    with driver(files), Lease(files, FOLDER, "ship"), Lease(files, "sweeps/day", "driver"):
        assert driver(files).holder() is not None


# --- living holders ---


def test_a_reused_pid_does_not_hold_the_lease(files: DiskFiles, ours: Holder) -> None:
    write(files, ours)
    assert driver(files).holder() == ours, "the unchanged holder must count as alive"
    write(files, replace(ours, process_started="1"))
    assert driver(files).holder() is None
    with driver(files):
        assert files.list(f"{FOLDER}/driver-lease") == ["000008.json"]


@pytest.mark.parametrize(
    "elsewhere",
    [
        lambda holder: replace(holder, host="node7.elsewhere"),
        lambda holder: replace(holder, kernel="another machine of this name, or another container on it"),
    ],
    ids=["another host", "another machine of the same name"],
)
def test_the_lease_of_another_host_expires_without_renewal(
    files: DiskFiles, ours: Holder, elsewhere: Callable[[Holder], Holder]
) -> None:
    now = time.time()
    # A process with the same pid on this host is irrelevant.
    there = replace(elsewhere(ours), pid=2**22 + 1, since=now - 9000)
    write(files, replace(there, renewed=now - EXPIRY_SECONDS + 20), EXPIRY_SECONDS - 20)
    with pytest.raises(LeaseHeldError, match=f"process {there.pid} on {re.escape(there.host)}, since "), driver(files):
        pass
    write(files, replace(elsewhere(ours), renewed=now - EXPIRY_SECONDS - 1), EXPIRY_SECONDS + 1)
    assert driver(files).holder() is None
    with driver(files):
        assert written(files).pid == os.getpid()


def test_a_lease_released_on_another_host_is_free_immediately(files: DiskFiles, ours: Holder) -> None:
    write(files, replace(ours, host="node7.elsewhere", renewed=time.time(), released=True))
    with driver(files):
        assert written(files).pid == os.getpid()


def test_a_living_process_of_this_host_keeps_its_lease_without_renewal(files: DiskFiles, ours: Holder) -> None:
    """A suspended laptop does not renew its lease, but its driver still exists."""
    write(files, replace(ours, renewed=time.time() - 10 * EXPIRY_SECONDS))
    assert driver(files).holder() is not None


def wait_for_renewal(files: DiskFiles) -> None:
    before, until = written(files).renewed, time.monotonic() + 10
    while written(files).renewed == before:
        assert time.monotonic() < until, "was not renewed"
        time.sleep(0.005)


def test_a_holder_renews_and_survives_a_storage_error(files: DiskFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "RENEWAL_SECONDS", 0.02)
    with driver(files):
        wait_for_renewal(files)
        scratch = files.root / ".partial"
        scratch.rename(files.root / "away")
        scratch.write_bytes(b"")  # a file instead of the folder: nothing can be written
        time.sleep(0.1)
        assert (silent := written(files).renewed) == written(files).renewed
        scratch.unlink()
        (files.root / "away").rename(scratch)
        wait_for_renewal(files)
        assert written(files).renewed > silent
    released = written(files)
    time.sleep(0.1)
    assert written(files) == released, "a released lease is not renewed"


@pytest.mark.parametrize("skew", [-7200.0, 7200.0])
def test_a_wrong_clock_on_another_host_does_not_matter(files: DiskFiles, ours: Holder, skew: float) -> None:
    there = replace(ours, host="node7.elsewhere", since=time.time() + skew, renewed=time.time() + skew)
    write(files, there, seconds_ago=5)
    assert driver(files).holder() == there, "it is renewed"
    write(files, there, seconds_ago=EXPIRY_SECONDS + 5)
    assert driver(files).holder() is None, "it was not renewed"


# --- lost leases ---


def taken_over(files: DiskFiles, ours: Holder) -> None:
    files.write(
        f"{FOLDER}/driver-lease/000042.json", json.dumps(asdict(replace(ours, host="node7.elsewhere"))).encode()
    )


def test_a_lease_taken_by_another_host_is_lost(files: DiskFiles, ours: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "RENEWAL_SECONDS", 0.02)
    told = threading.Event()
    lost = pytest.raises(LeaseLostError, match=r"^night: another driver has taken over: process \d+ on node7")
    with lost, Lease(files, FOLDER, "driver", told.set) as lease:
        assert not lease.lost
        taken_over(files, ours)
        assert told.wait(10)
        assert lease.lost
        raise KeyboardInterrupt
    assert files.list(f"{FOLDER}/driver-lease")[-1] == "000042.json"
    assert written(files).host == "node7.elsewhere", "the file of its successor is unchanged"
    assert not written(files).released


def test_lost_lease_does_not_hide_another_error(files: DiskFiles, ours: Holder) -> None:
    with pytest.raises(KeyError), driver(files):
        taken_over(files, ours)
        raise KeyError


def test_unwritable_disk_does_not_hide_another_error(files: DiskFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise StorageError("No space left on device")

    with pytest.raises(KeyError), driver(files):
        monkeypatch.setattr(files, "write", full)
        raise KeyError
    with pytest.MonkeyPatch.context() as patch, Lease(DiskFiles(files.root), "sweeps/day", "driver") as lease:
        patch.setattr(lease._files, "write", full)


# --- damage ---


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"host": 3}', b"\xff"])
def test_a_damaged_lease_is_free_after_a_minute(files: DiskFiles, content: bytes) -> None:
    name = f"{FOLDER}/driver-lease/000007.json"
    files.write(name, content)
    assert driver(files).holder() is None
    with (
        pytest.raises(LeaseHeldError, match=r"000007.json, is damaged .* wait a minute, or delete the file"),
        driver(files),
    ):
        pass
    os.utime(files.root / name, (time.time() - EXPIRY_SECONDS - 1,) * 2)
    with driver(files) as lease:
        assert lease.number == 8


def test_other_files_in_the_folder_of_a_lease_are_ignored(files: DiskFiles) -> None:
    files.write(f"{FOLDER}/driver-lease/notes.txt", b"")
    files.write(f"{FOLDER}/driver-lease/999999.json.bak", b"")
    with driver(files) as lease:
        assert lease.number == 1


# --- races ---


def test_one_of_eight_concurrent_processes_gets_the_lease(files: DiskFiles) -> None:
    code = """
        files = DiskFiles(stored.Path(sys.argv[1]))

        def work(number):
            try:
                Lease(files, "sweeps/night", "driver").__enter__()
            except LeaseHeldError:
                files.write(f"refused/{turn}/{number}", b"")
                return 0
            until = time.monotonic() + 10
            while len(files.list(f"refused/{turn}")) < 7 and time.monotonic() < until:
                time.sleep(0.01)
            return 1  # exits as the holder once all others have tried

        for turn in range(4):
            codes = each(8, work)
            assert sorted(codes) == [0] * 7 + [1], codes
    """
    python(code, files.root)


class Late(DiskFiles):
    """Runs `meanwhile` between the check of the lease and the creation of its file."""

    def __init__(self, root: Path, meanwhile: Callable[[], object]) -> None:
        super().__init__(root)
        self._meanwhile = meanwhile

    def create(self, name: str, content: bytes) -> bool:
        self._meanwhile()
        return super().create(name, content)


def test_a_reader_sees_the_new_holder_while_the_lease_changes_hands(files: DiskFiles, ours: Holder) -> None:
    class Slow(DiskFiles):
        changed = False

        def read(self, name: str) -> bytes | None:
            if not self.changed:
                self.changed = True
                lease.__enter__()  # deletes the file that was listed
            return super().read(name)

    lease = driver(files)
    holder = driver(Slow(files.root)).holder()
    assert holder is not None
    assert holder.token != ours.token
    lease.__exit__(None, None, None)


def test_process_that_creates_the_lease_second_is_refused(files: DiskFiles) -> None:
    first = driver(files)
    late = Lease(Late(files.root, first.__enter__), FOLDER, "driver")
    with pytest.raises(LeaseHeldError, match=r"^night: another driver began at the same moment$"), late:
        pass
    assert files.list(f"{FOLDER}/driver-lease") == ["000001.json"]
    first.__exit__(None, None, None)


def test_a_process_overtaken_by_two_others_is_refused(files: DiskFiles) -> None:
    """The number that it tries to create is free again, but a newer lease is held."""
    second = driver(files)

    def come_and_go() -> None:
        with driver(files):
            pass
        second.__enter__()

    late = Lease(Late(files.root, come_and_go), FOLDER, "driver")
    with pytest.raises(LeaseHeldError, match="another driver began at the same moment"), late:
        pass
    assert files.list(f"{FOLDER}/driver-lease") == ["000002.json"]
    assert driver(files).holder() is not None
    second.__exit__(None, None, None)
    assert driver(files).holder() is None
