"""Published data sets in their own file formats, with real checksums and downloads on loopback."""

import shutil
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from orchestrator.study.parts.data_config import DigitsData, ImageFolderData, TorchvisionData
from orchestrator.training.data.cache.decoded_copy import cache_folder
from orchestrator.training.data.datasets import available, load_data, load_source, obtainable
from orchestrator.training.data.images.torchvision_data import PublishedSize, published_size
from orchestrator.training.data.samples import DataError
from tests.store.trials import damage_content
from tests.training.formulas import assert_as_by_the_formulas
from tests.training.published import NAMES, Server, Small, closed_address, publish, unpack

CPU = torch.device("cpu")
each_set = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(autouse=True)
def _nothing_loaded(own_cache: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    load_data.cache_clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "published"


def announced(name: str, folder: Path, patch: pytest.MonkeyPatch, address: str | None = None) -> Small:
    """Writes a data set into a folder. By default its address does not answer."""
    small = publish(name, folder, address or closed_address())
    small.announce(patch)
    return small


def left_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@each_set
def test_data_of_a_trial_is_bit_identical_to_the_reference(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = announced(name, folder, monkeypatch)
    before = left_in(folder)
    data = load_data(small.config(folder), CPU)
    assert_as_by_the_formulas(data, small.listed)
    assert data.shape == tuple(small.listed.train_pixels.shape[1:])
    assert left_in(folder) == before
    load_data.cache_clear()
    assert_as_by_the_formulas(load_data(small.config(folder), CPU), small.listed)


@each_set
def test_decoded_data_set_does_not_need_the_downloaded_files(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = announced(name, folder, monkeypatch)
    first = load_source(small.config(folder))
    shutil.rmtree(folder)
    assert load_source(small.config()).digest == first.digest == small.listed.digest


@each_set
def test_a_damaged_file_is_named(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = announced(name, folder, monkeypatch)
    for file in small.files:
        whole = (folder / file).read_bytes()
        damage_content(folder / file)
        expected = (
            rf"{file}' is damaged: its MD5 is \w{{32}}, expected \w{{32}}; remove it, and the next "
            rf"run downloads it again, or replace it by the file at http://127.*/{Path(file).name}$"
        )
        with pytest.raises(DataError, match=expected):
            load_source(small.config(folder))
        with pytest.raises(DataError, match="is damaged"):
            load_source(small.config(folder))
        (folder / file).write_bytes(whole)
    assert len(load_source(small.config(folder)).train) == 54


@each_set
def test_without_a_network_the_missing_files_are_listed(
    name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = announced(name, folder, monkeypatch)
    with pytest.raises(DataError) as caught:
        load_source(small.config())
    message = str(caught.value)
    place = tmp_path / "cache" / "downloads" / name
    assert message.startswith(f"{name} is not in '{place}' and cannot be downloaded (http://127.0.0.1:")
    assert "Connection refused" in message
    assert "Put the missing files there by hand and run again:\n" in message
    wanted = [line.split() for line in message.splitlines()[1:]]
    assert [line[0] for line in wanted] == [str(place / file) for file in small.files]
    for line in wanted:
        assert line[1:3] == ["from", *[url for url in line if url.startswith("http")]]
        # Copying the files as the message asks is sufficient.
        Path(line[0]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / Path(line[0]).relative_to(place), line[0])
    assert load_source(small.config()).digest == small.listed.digest


def test_only_missing_files_are_listed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = announced("mnist", folder, monkeypatch)
    (folder / small.files[2]).unlink()
    with pytest.raises(DataError) as caught:
        load_source(small.config(folder))
    (line,) = str(caught.value).splitlines()[1:]
    assert line.split()[0] == str(folder / small.files[2])


@each_set
def test_data_set_is_downloaded_checked_and_decoded(
    name: str,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Server(folder) as server:
        small = announced(name, folder, monkeypatch, server.address)
        data = load_data(small.config(tmp_path / "mine"), CPU)
        assert set(server.asked) == {f"/{file}" for file in small.files}
    assert_as_by_the_formulas(data, small.listed)
    assert left_in(tmp_path / "mine") == sorted(small.files)
    # One line per file, and no progress bar without a terminal.
    assert capfd.readouterr() == ("", "")
    assert caplog.messages == [
        f"downloading {server.address}/{file} to {tmp_path / 'mine' / file}" for file in small.files
    ]


@each_set
def test_a_wrong_file_is_not_kept(name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(folder) as server:
        small = announced(name, folder, monkeypatch, server.address)
        whole = (folder / small.files[0]).read_bytes()
        damage_content(folder / small.files[0])
        with pytest.raises(DataError, match=r"cannot be downloaded \(http.*bytes received differ in MD5"):
            load_source(small.config(tmp_path / "mine"))
        assert left_in(tmp_path / "mine") == []
        (folder / small.files[0]).write_bytes(whole)
        assert load_source(small.config(tmp_path / "mine")).digest == small.listed.digest


def test_an_incomplete_file_is_not_kept(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(folder, keep_back=100) as server:
        small = announced("svhn", folder, monkeypatch, server.address)
        with pytest.raises(DataError, match=r"cannot be downloaded \(http.* bytes received differ in MD5"):
            load_source(small.config(tmp_path / "mine"))
        assert available(small.config(tmp_path / "mine")).startswith("svhn: absent")


def test_http_error_is_reported(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    with Server(tmp_path / "empty") as server:
        small = announced("cifar10", folder, monkeypatch, server.address)
        with pytest.raises(DataError, match=r"cifar-10-python.tar.gz: HTTP Error 404: File not found\)"):
            load_source(small.config(tmp_path / "mine"))


def test_a_failed_write_names_the_folder(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    small = announced("cifar10", folder, monkeypatch)
    with pytest.raises(DataError, match=r"cannot be downloaded \(http.*Not a directory: '.*file/mine'\)"):
        load_source(small.config(tmp_path / "file" / "mine"))


def test_the_next_mirror_is_used_if_one_does_not_answer(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Server(folder) as server:
        small = announced("mnist", folder, monkeypatch, server.address)
        small.attributes["mirrors"].insert(0, f"{closed_address()}/")
        assert load_source(small.config(tmp_path / "mine")).digest == small.listed.digest


def test_processes_that_need_the_same_set_download_it_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Server(folder, delay=0.1) as server, ThreadPoolExecutor(2) as pool:
        small = announced("svhn", folder, monkeypatch, server.address)
        sources = pool.map(load_source, [small.config(tmp_path / "mine")] * 2)
        assert {source.digest for source in sources} == {small.listed.digest}
        assert Counter(server.asked) == {"/test_32x32.mat": 1, "/train_32x32.mat": 1}


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_an_unpacked_archive_is_used(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = announced(name, folder, monkeypatch)
    unpack(folder, small.files[0])
    assert_as_by_the_formulas(load_data(small.config(folder), CPU), small.listed)


def test_a_damaged_file_of_an_unpacked_archive_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = announced("cifar10", folder, monkeypatch)
    unpack(folder, small.files[0])
    damage_content(folder / "cifar-10-batches-py" / "data_batch_3")
    with pytest.raises(DataError, match=r"cifar-10-batches-py/data_batch_3' is damaged"):
        load_source(small.config(folder))


def test_an_incomplete_unpacked_archive_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(folder) as server:
        small = announced("cifar10", folder, monkeypatch, server.address)
        mine = folder.with_name("mine")
        shutil.copytree(folder, mine)
        unpack(mine, small.files[0])
        (mine / "cifar-10-batches-py" / "batches.meta").unlink()
        assert load_source(small.config(mine)).digest == small.listed.digest
        assert set(server.asked) == {"/cifar-10-python.tar.gz"}


def test_a_file_that_cannot_be_read_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = announced("cifar10", folder, monkeypatch)
    (folder / small.files[0]).unlink()
    (folder / small.files[0]).mkdir()
    with pytest.raises(DataError, match=r"tar.gz' cannot be read \(Is a directory\); make it readable, or remove it"):
        load_source(small.config(folder))


def test_missing_torchvision_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(DataError, match=r"the svhn data needs torchvision: pip install 'hessian-dynamics\[sweep\]'"):
        load_source(TorchvisionData(name="svhn"))


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("cifar10", PublishedSize((3, 32, 32), 50000, 10000, 10)),
        ("cifar100", PublishedSize((3, 32, 32), 50000, 10000, 100)),
        ("mnist", PublishedSize((1, 28, 28), 60000, 10000, 10)),
        ("fashion_mnist", PublishedSize((1, 28, 28), 60000, 10000, 10)),
        ("svhn", PublishedSize((3, 32, 32), 73257, 26032, 10)),
    ],
)
def test_published_sizes_are_known_in_advance(name: str, facts: PublishedSize, folder: Path) -> None:
    assert published_size(TorchvisionData.model_validate({"name": name})) == facts
    small = publish(name, folder, "", train=20, test=5)
    assert facts.shape == tuple(small.listed.train_pixels.shape[1:])
    assert facts.classes == len(small.listed.classes)


def test_sizes_of_other_data_are_not_known_in_advance() -> None:
    assert published_size(DigitsData(name="digits")) is None
    assert published_size(ImageFolderData(name="image_folder", path="/nowhere")) is None


def test_too_large_a_subset_is_refused_before_the_download(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"data.train_subset = 45001: cifar10 has 45000 samples to train on"):
        load_source(TorchvisionData(name="cifar10", train_subset=45_001))
    assert not cache_folder().exists()


@each_set
def test_available_describes_the_state_without_network(
    name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = announced(name, tmp_path / "other", monkeypatch)
    config = small.config(folder)
    assert available(config) == f"{name}: absent; the first run downloads it into {folder}"
    shutil.copytree(tmp_path / "other", folder)
    assert available(config) == f"{name}: downloaded into {folder}, not decoded yet"
    damage_content(folder / small.files[-1])
    assert available(config).startswith(f"{name}: not usable: '{folder / small.files[-1]}' is damaged: its MD5 is")
    shutil.copy(tmp_path / "other" / small.files[-1], folder / small.files[-1])
    load_source(config)
    (decoded,) = cache_folder().glob("decoded-*")
    assert available(config) == f"{name}: decoded in {decoded}"


def test_unreachable_data_is_not_obtainable(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = announced("mnist", folder, monkeypatch)
    with pytest.raises(DataError, match=r"mnist is not in .* and cannot be downloaded \(http://127.0.0.1:.* refused"):
        obtainable(small.config(tmp_path / "mine"))
    assert obtainable(small.config(folder)).startswith("mnist: downloaded into")
    with Server(folder) as server:
        small = announced("mnist", folder, monkeypatch, server.address)
        assert obtainable(small.config(tmp_path / "mine")).startswith("mnist: absent; the first run downloads it")
        assert server.asked == [], "nothing is downloaded"
