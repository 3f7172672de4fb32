"""The decoded copy of a data set is shared in memory, complete or absent, and verified."""

import errno
import fcntl
import multiprocessing
import os
import platform
import resource
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from orchestrator.study.parts.data_config import ImageFolderData
from orchestrator.training.data.cache import decoded_copy
from orchestrator.training.data.cache.decoded_copy import (
    CACHE_VARIABLE,
    cache_folder,
    decoded_folder,
    earlier_copies,
    is_decoded,
)
from orchestrator.training.data.datasets import load_data
from orchestrator.training.data.images.stored_images import RawDataset, RawSplit, load_or_decode
from orchestrator.training.data.samples import DataError
from orchestrator.training.loop import train
from tests.training.folders import make_folder
from tests.training.formulas import Listed, assert_as_by_the_formulas, listed_folder
from tests.training.published import closed_address, publish
from tests.training.trials import small_trial

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _nothing_loaded(own_cache: None) -> None:
    load_data.cache_clear()


def images(train: int = 40, test: int = 10, shape: tuple[int, int, int] = (3, 8, 8)) -> RawDataset:
    generator = torch.Generator().manual_seed(1)

    def part(count: int) -> RawSplit:
        pixels = torch.randint(0, 256, (count, *shape), generator=generator, dtype=torch.uint8)
        return RawSplit(torch.arange(count) % 2, (image.numpy().tobytes() for image in pixels))

    return RawDataset(("a", "b"), shape, part(train), part(test))


def place(name: str = "some") -> Path:
    return decoded_folder(name, "content")


MEMORY = """
import os, sys, torch, torchvision
from pathlib import Path
from orchestrator.study.parts.data_config import ImageFolderData, TorchvisionData
from orchestrator.training.data.datasets import load_data

def memory(kind):
    return next(int(line.split()[1]) for line in open("/proc/self/smaps_rollup") if line.startswith(kind + ":")) / 1024

# Memory that every trial uses before it loads data.
torch.ones(1000).sum()
kinds = ("Rss", "Anonymous", "Private_Dirty")
before = [memory(kind) for kind in kinds]
torchvision.datasets.CIFAR10.tgz_md5 = sys.argv[2]
data = load_data(TorchvisionData(name="cifar10", path=sys.argv[1]), torch.device("cpu"))
tensors = [t for p in (data.train, data.validation, data.test) for t in (p.inputs, p.targets)] + [data.ood_noise]
size = sum(t.numel() * t.element_size() for t in tensors) / 2**20
for tensor in tensors:
    tensor.flatten()[:: 1024].max()  # reads every page
print(size, *(memory(kind) - old for kind, old in zip(kinds, before)))
"""


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="only Linux reports private memory")
def test_a_reading_process_has_almost_no_private_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = publish("cifar10", tmp_path / "published", closed_address(), train=4000, test=2000)
    small.announce(monkeypatch)
    load_data(small.config(tmp_path / "published"), CPU)  # decoded in this process, read in the subprocess
    program = [sys.executable, "-c", MEMORY, str(tmp_path / "published"), small.attributes["tgz_md5"]]
    size, seen, anonymous, dirty = map(float, subprocess.check_output(program, text=True).split())
    assert size > 40
    assert seen > 0.9 * size
    assert anonymous < 0.1 * size
    assert dirty < 0.1 * size


def test_training_does_not_write_to_the_mapped_images(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "images", size=(8, 8))
    measurement = {"fraction": 0.2, "estimators": ["lanczos"], "lanczos_products": 2}
    data_config = {"name": "image_folder", "path": str(folder)}
    config = small_trial(data=data_config, epochs=1, batch_size=8, measurement=measurement)
    data = load_data(config.data, CPU)
    assert len(list(train(config, data, CPU))) == 2
    # A write to the memory map would make its content differ from the file.
    assert_as_by_the_formulas(data, listed_folder(folder))
    load_data.cache_clear()
    assert_as_by_the_formulas(load_data(config.data, CPU), listed_folder(folder))


def test_files_are_read_only_for_everyone() -> None:
    mask = os.umask(0o022)
    try:
        load_or_decode(place(), lambda unpacked: images())
    finally:
        os.umask(mask)
    assert stat.S_IMODE(place().stat().st_mode) == 0o755
    assert {stat.S_IMODE(path.stat().st_mode) for path in place().iterdir()} == {0o444}


def test_unpacked_files_are_removed_after_decoding() -> None:
    def read(unpacked: Path) -> RawDataset:
        (unpacked / "large").write_bytes(bytes(1000))
        return images()

    load_or_decode(place(), read)
    assert sorted(path.name for path in cache_folder().rglob("*") if path.is_file()) == sorted(
        [
            f".{place().name}.lock",
            "meta.json",
            "test.labels",
            "test.noise",
            "test.pixels",
            "train.labels",
            "train.pixels",
        ]
    )


def test_a_failed_read_leaves_no_copy() -> None:
    def read(unpacked: Path) -> RawDataset:
        whole = images()
        broken = RawSplit(whole.test.labels, (_ for _ in [1] if 1 / 0))
        return RawDataset(whole.classes, whole.shape, whole.train, broken)

    with pytest.raises(ZeroDivisionError):
        load_or_decode(place(), read)
    assert not is_decoded(place())
    assert [path.name for path in cache_folder().iterdir()] == [f".{place().name}.lock"]


def test_copy_with_an_earlier_layout_is_not_read(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "images")
    config = ImageFolderData(name="image_folder", path=str(folder))
    load_data(config, CPU)
    (decoded,) = cache_folder().glob("decoded-*")
    earlier = cache_folder() / decoded.name.replace("decoded-", "")
    decoded.rename(earlier)
    load_data.cache_clear()
    (earlier / "meta.json").chmod(0o644)
    (earlier / "meta.json").write_text("{}")
    assert_as_by_the_formulas(load_data(config, CPU), listed_folder(folder))


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """Simulates a full disk: limits the size of the files that this process can write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


# With 3,000 bytes, writing the pixels fails. With 20,000 bytes, writing the larger noise fails.
@pytest.mark.parametrize("size", [3000, 20_000])
def test_a_failed_write_names_the_folder_and_the_fix(size: int) -> None:
    with (
        no_file_larger_than(size),
        pytest.raises(DataError, match=r"the data cannot be decoded into '.*cache' \(.*File too large.*\); free space"),
    ):
        load_or_decode(place(), lambda unpacked: images(train=80, test=40))
    assert not is_decoded(place())
    assert [path.name for path in cache_folder().iterdir()] == [f".{place().name}.lock"]
    assert len(load_or_decode(place(), lambda unpacked: images(train=80, test=40)).train) == 72


def test_too_little_space_is_reported_before_reading() -> None:
    part = RawSplit(torch.zeros(20, dtype=torch.int64), (_ for _ in [1] if 1 / 0))
    with pytest.raises(DataError) as caught:
        load_or_decode(place(), lambda unpacked: RawDataset(("a", "b"), (100, 10**6, 10**6), part, part))
    message = str(caught.value)
    assert "12,000,000,000 MB are needed, " in message
    assert f"MB are free); free space or fix permissions there, or set {CACHE_VARIABLE} to another folder" in message


def test_a_cache_folder_that_cannot_be_created_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file" / "cache"))
    with pytest.raises(DataError, match=rf"decoded into '.*file/cache' \(.*Not a directory.*{CACHE_VARIABLE}"):
        load_or_decode(place(), lambda unpacked: images())


@pytest.mark.parametrize("name", ["train.pixels", "train.labels", "test.noise", "meta.json"])
def test_truncated_file_is_reported(name: str) -> None:
    load_or_decode(place(), lambda unpacked: images())
    (place() / name).chmod(0o644)
    os.truncate(place() / name, (place() / name).stat().st_size // 2)
    with pytest.raises(DataError, match=rf"decoded copy '{place()}' is damaged \(.*\); remove that folder and run"):
        load_or_decode(place(), lambda unpacked: images())


def test_missing_file_of_a_copy_is_reported() -> None:
    load_or_decode(place(), lambda unpacked: images())
    (place() / "test.noise").unlink()
    with pytest.raises(DataError, match=rf"decoded copy '{place()}' is damaged \(.*test.noise.*\); remove that"):
        load_or_decode(place(), lambda unpacked: images())


def _sleep_while_decoding(folder: Path, ready: str) -> None:
    def read(unpacked: Path) -> RawDataset:
        Path(ready).write_text("")
        time.sleep(600)
        raise AssertionError

    load_or_decode(folder, read)


def test_the_scratch_folder_of_a_killed_process_is_removed(tmp_path: Path) -> None:
    # Forked, since a new process takes seconds to import torch. The child computes nothing.
    arguments = (place(), str(tmp_path / "ready"))
    process = multiprocessing.get_context("fork").Process(target=_sleep_while_decoding, args=arguments)
    process.start()
    while not (tmp_path / "ready").exists():
        assert process.is_alive()
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    (cache_folder() / f".decoding-{place().name}-another.machine-left").mkdir()
    assert len(list(cache_folder().glob(".decoding-*"))) == 2
    assert len(load_or_decode(place(), lambda unpacked: images()).train) == 36
    (elsewhere,) = cache_folder().glob(".decoding-*")
    assert "another.machine" in elsewhere.name


def test_only_one_decodes_while_the_others_wait(caplog: pytest.LogCaptureFixture) -> None:
    decoding = threading.Event()

    def read(unpacked: Path) -> RawDataset:
        assert not decoding.is_set()
        decoding.set()
        while len(caplog.messages) < 3:
            time.sleep(0.01)
        return images()

    with ThreadPoolExecutor(4) as pool:
        loading = [pool.submit(load_or_decode, place(), read)]
        assert decoding.wait(60)
        loading += [pool.submit(load_or_decode, place(), read) for _ in range(3)]
        assert [len(load.result(60).train) for load in loading] == [36] * 4
    message = f"waiting for process {os.getpid()} on {platform.node()}, which is decoding data into {place()}"
    assert caplog.messages == [message] * 3


@pytest.mark.parametrize("name", ["train.pixels", "train.labels", "test.labels", "test.noise"])
def test_a_flipped_bit_is_detected(name: str) -> None:
    load_or_decode(place(), lambda unpacked: images())
    (place() / name).chmod(0o644)
    content = bytearray((place() / name).read_bytes())
    content[len(content) // 2] ^= 1
    (place() / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"'{place()}' is damaged \({name} has changed since it was written, its SHA"):
        load_or_decode(place(), lambda unpacked: images())


def test_files_are_digested_once_per_process(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    digest = decoded_copy._file_digest
    monkeypatch.setattr(decoded_copy, "_file_digest", lambda path: read.append(path.name) or digest(path))
    load_or_decode(place(), lambda unpacked: images())
    before = len(read)
    load_or_decode(place(), lambda unpacked: images())
    assert len(read) == before == 2 * 5, "each file is digested once when written and once when checked"


def test_copies_of_other_versions_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    load_or_decode(place(), lambda unpacked: images())
    assert earlier_copies() == []
    (cache_folder() / "decoded-older").mkdir()
    (cache_folder() / "decoded-older" / "meta.json").write_text('{"digest": "x"}')
    assert earlier_copies() == [cache_folder() / "decoded-older"]
    here = place()
    monkeypatch.setattr("torch.__version__", "99.0+cpu")
    assert earlier_copies() == [cache_folder() / "decoded-older", here]


def test_decoding_works_without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert len(load_or_decode(place(), lambda unpacked: images()).train) == 36


def test_first_of_two_simultaneous_copies_is_kept() -> None:
    def read(unpacked: Path) -> RawDataset:
        # Without locks, another process may finish while this one reads.
        load_or_decode(place("other"), lambda unpacked: images()).train.inputs.sum()
        place("other").rename(place())
        return images()

    before = load_or_decode(place(), read)
    assert len(before.train) == 36
    assert len([path for path in cache_folder().iterdir() if path.name.startswith("decoded")]) == 1


def test_digest_is_computed_in_published_order() -> None:
    published = images()
    pixels = {name: [*part.pixels] for name, part in (("train", published.train), ("test", published.test))}
    listed = Listed(
        published.classes,
        torch.frombuffer(bytearray(b"".join(pixels["train"])), dtype=torch.uint8).view(-1, 3, 8, 8),
        published.train.labels,
        torch.frombuffer(bytearray(b"".join(pixels["test"])), dtype=torch.uint8).view(-1, 3, 8, 8),
        published.test.labels,
    )
    assert load_or_decode(place(), lambda unpacked: images()).digest == listed.digest


def test_folder_depends_on_name_content_split_seed_and_torch_version(monkeypatch: pytest.MonkeyPatch) -> None:
    folders = {place(), decoded_folder("some", "other"), decoded_folder("else", "content")}
    monkeypatch.setattr("orchestrator.training.data.split.SPLIT_SEED", 43)
    folders.add(place())
    monkeypatch.setattr("torch.__version__", "99.0+cpu")
    folders.add(place())
    assert len(folders) == 5
