"""File operations in a bucket, over real sockets. They have the same guarantees as on a disk, and use few requests."""

import os
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.store.backends import s3
from orchestrator.store.backends.location import S3Location
from orchestrator.store.backends.s3 import S3Files
from orchestrator.store.errors import StorageError
from orchestrator.store.ownership.claims import Owner, SupersededError
from orchestrator.store.ownership.lease import Lease, LeaseHeldError
from orchestrator.store.storage import Storage
from orchestrator.store.trial import Checkpoint, TrialStore
from tests.store.buckets import client, environment, new_bucket, s3_server
from tests.store.stored import checkpoint, config, record


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture
def files(server: str, monkeypatch: pytest.MonkeyPatch) -> S3Files:
    for name, value in environment(server).items():
        monkeypatch.setenv(name, value)
    return S3Files(S3Location(new_bucket(server), "some/prefix"))


def test_written_content_is_read_back(server: str, files: S3Files) -> None:
    content = bytes(range(256)) * 1000
    files.write("a/b/c", content)
    assert files.read("a/b/c") == content
    files.write("a/b/c", b"")
    assert files.read("a/b/c") == b""
    keys = client(server).list_objects_v2(Bucket=files.root.bucket)["Contents"]
    assert [item["Key"] for item in keys] == ["some/prefix/a/b/c"]


def test_missing_files(files: S3Files) -> None:
    assert files.read("a") is None
    assert files.list("a") == []
    assert files.list("") == []
    assert files.age("a") is None
    files.delete("a")


def test_create_succeeds_only_once(files: S3Files) -> None:
    assert files.create("a/b", b"first")
    assert not files.create("a/b", b"first")
    assert files.read("a/b") == b"first"
    files.delete("a/b")
    assert files.create("a/b", b"third")


def test_one_of_eight_concurrent_creates_wins(files: S3Files) -> None:
    start = threading.Barrier(8)

    def work(number: int) -> bool:
        mine = S3Files(files.root)
        start.wait()
        return mine.create("race", b"%d" % number)

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(work, range(8)))
    assert Counter(won) == {True: 1, False: 7}
    assert files.read("race") == b"%d" % won.index(True)


def test_create_succeeds_if_the_reply_to_the_first_request_was_lost(
    files: S3Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = files._fs.pipe_file

    def twice(path: str, content: bytes, **options: object) -> None:
        put(path, content, **options)
        put(path, content, **options)  # boto3 repeats an unanswered request

    monkeypatch.setattr(files._fs, "pipe_file", twice)
    assert files.create("a", b"ours")
    assert not files.create("a", b"ours")


def test_listing_is_sorted_and_uncached_and_skips_hidden_names(files: S3Files) -> None:
    other = S3Files(files.root)
    for name in ("b", "a", "10", "9", ".hidden", "deeper/x"):
        other.write(f"folder/{name}", b"")
        files.list("folder")
    assert files.list("folder") == ["10", "9", "a", "b", "deeper"]
    other.delete("folder/a")
    assert files.list("folder") == ["10", "9", "b", "deeper"]


def test_listing_reads_all_pages(files: S3Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "_PAGE", 3)
    for number in range(7):
        files.write(f"many/{number}", b"")
    assert files.list("many") == [str(number) for number in range(7)]


def test_age_uses_the_clock_of_the_server(files: S3Files, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write("a", b"")
    monkeypatch.setattr(time, "time", lambda: 0.0)  # a host with a wrong clock
    age = files.age("a")
    assert age is not None
    assert 0 <= age < 600


# --- trials and leases in a bucket ---


def commit(trial: TrialStore, epoch: int, by: str = "first") -> bool:
    return trial.commit(record(epoch), checkpoint(epoch), "d", by)


def test_epochs_and_checkpoints(files: S3Files) -> None:
    trial = TrialStore(files, config().trial_id)
    for epoch in range(4):
        assert commit(trial, epoch)
    assert not commit(trial, 3, "second")
    assert list(trial.records()) == [record(epoch) for epoch in range(4)]
    assert files.list(f"trials/{trial.trial_id}/checkpoints") == ["00002-1002ms-first", "00003-1003ms-first"]
    assert trial.latest_checkpoint() == Checkpoint(3, checkpoint(3), "d")
    files.write(f"trials/{trial.trial_id}/checkpoints/00003-1003ms-first", b"cut sho")
    assert trial.latest_checkpoint() == Checkpoint(2, checkpoint(2), "d", damaged=(3,))


def test_one_of_eight_concurrent_commits_wins(files: S3Files) -> None:
    start = threading.Barrier(8)

    def work(number: int) -> bool:
        trial = TrialStore(S3Files(files.root), config().trial_id)
        start.wait()
        return trial.commit(record(0, loss=float(number)), b"%d" % number, "d", f"by-{number}")

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(work, range(8)))
    assert Counter(won) == {True: 1, False: 7}
    trial = TrialStore(files, config().trial_id)
    assert trial.read(0).record.loss_train == won.index(True)
    assert trial.latest_checkpoint() == Checkpoint(0, b"%d" % won.index(True), "d")


def test_a_superseded_writer_writes_nothing(files: S3Files) -> None:
    first, second = (TrialStore(S3Files(files.root), config().trial_id) for _ in range(2))
    first.claim(Owner("night", 0), "first")
    assert commit(first, 0)
    second.claim(Owner("night", 0), "second")
    with pytest.raises(SupersededError):
        commit(first, 1)
    assert commit(second, 1, "second")


def test_a_lease_has_one_holder(files: S3Files) -> None:
    with Lease(files, "sweeps/night", "driver"):
        with pytest.raises(LeaseHeldError), Lease(S3Files(files.root), "sweeps/night", "driver"):
            pass
        assert Lease(files, "sweeps/night", "driver").holder() is not None
    assert Lease(files, "sweeps/night", "driver").holder() is None
    with Lease(files, "sweeps/night", "driver") as lease:
        assert lease.number == 2


def test_a_commit_takes_six_requests(files: S3Files) -> None:
    trial = TrialStore(files, config().trial_id)
    trial.claim(Owner("night", 0), "first")
    for epoch in range(3):
        assert commit(trial, epoch)
    asked: list[str] = []
    files._fs.s3.meta.events.register("before-send.s3", lambda request, **_: asked.append(request.method))
    assert commit(trial, 3)
    assert Counter(asked) == {"GET": 3, "PUT": 2, "DELETE": 1}  # three listings
    asked.clear()
    assert trial.read(3).record == record(3)
    assert asked == ["GET"]


# --- errors ---


def refusal(files: S3Files) -> str:
    with pytest.raises(StorageError) as caught:
        files.check_writable()
    for look in (lambda: files.read("a"), lambda: files.list("a")):
        with pytest.raises(StorageError):
            look()
    return str(caught.value)


def test_checking_a_storage_leaves_no_object(server: str, files: S3Files) -> None:
    files.check_writable()
    assert client(server).list_objects_v2(Bucket=files.root.bucket)["KeyCount"] == 0


def test_a_missing_bucket_is_reported(files: S3Files) -> None:
    said = refusal(S3Files(S3Location("no-such-bucket", "p")))
    assert re.fullmatch(
        r"storage s3://no-such-bucket/p/\.probe/\w+ cannot be used: there is no such bucket; create it first, or "
        r"correct --storage",
        said,
    )


def test_an_unreachable_endpoint_is_reported(files: S3Files, monkeypatch: pytest.MonkeyPatch) -> None:
    assert s3._ATTEMPTS == 5
    monkeypatch.setattr(s3, "_ATTEMPTS", 1)  # boto3 waits longer after each attempt
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(
        StorageError, match=r"^storage s3://.* cannot be used: .*http://127\.0\.0\.1:9.*; check AWS_END"
    ):
        S3Files(files.root).check_writable()


def test_missing_credentials_are_reported(files: S3Files, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(StorageError, match=r"no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        S3Files(files.root).check_writable()


def test_a_storage_in_a_bucket_has_a_local_folder_for_logs(
    files: S3Files, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    storage = Storage(f"{files.root}/")
    assert str(storage.root) == str(files.root) == f"s3://{files.root.bucket}/some/prefix"
    sweep = storage.sweep("night")
    assert sweep.log == tmp_path / "results" / "s3" / files.root.bucket / "some/prefix/sweeps/night/shipper.log"
    assert os.listdir(tmp_path) == []
