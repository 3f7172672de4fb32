"""Image folders are decoded once, and errors name the folder or image."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image

from orchestrator.study.parts.data_config import ImageFolderData
from orchestrator.training.data.cache.decoded_copy import cache_folder
from orchestrator.training.data.datasets import available, load_data
from orchestrator.training.data.images.image_folder import load_image_folder
from orchestrator.training.data.samples import DataError
from tests.training.folders import make_folder, write_image
from tests.training.formulas import assert_as_by_the_formulas, listed_folder

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "images")


def test_pixels_labels_and_classes_match_the_files(folder: Path) -> None:
    source = load_image_folder(folder)
    assert source.classes == ("cat", "dog")
    assert source.train.inputs.shape == (27, 3, 6, 8)
    assert source.train.inputs.dtype == torch.uint8
    assert sorted([*source.train.targets.tolist(), *source.validation.targets.tolist()]) == [0] * 15 + [1] * 15
    with Image.open(folder / "test" / "dog" / "003.png") as image:
        expected = torch.from_numpy(numpy.array(image)).permute(2, 0, 1)
    assert torch.equal(source.test.inputs[15 + 3], expected)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_data_of_a_trial_is_bit_identical_to_the_reference(tmp_path: Path, mode: str) -> None:
    # An odd size, since torch draws normal random numbers in blocks of sixteen.
    folder = make_folder(tmp_path / "images", per_class=13, size=(7, 5), mode=mode)
    config = ImageFolderData(name="image_folder", path=str(folder))
    for _ in range(2):
        load_data.cache_clear()
        assert_as_by_the_formulas(load_data(config, torch.device("cpu")), listed_folder(folder))


def test_more_than_256_classes(tmp_path: Path) -> None:
    pixels = torch.zeros(257, 1, 1, 1, dtype=torch.uint8)
    for split in ("train", "test"):
        for label in range(257):
            pixels[label] = label % 256
            path = tmp_path / "images" / split / f"class {label:03d}" / "only.png"
            path.parent.mkdir(parents=True)
            Image.fromarray(pixels[label, 0].numpy(), mode="L").save(path)
    config = ImageFolderData(name="image_folder", path=str(tmp_path / "images"))
    data = load_data(config, torch.device("cpu"))
    assert data.test.targets.tolist() == list(range(257))
    assert_as_by_the_formulas(data, listed_folder(tmp_path / "images"))


def test_grey_images_have_one_channel(tmp_path: Path) -> None:
    source = load_image_folder(make_folder(tmp_path / "grey", mode="L"))
    assert source.train.inputs.shape == (27, 1, 6, 8)


def test_jpegs_are_decoded(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "images")
    write_image(folder / "train" / "cat" / "extra.jpg", seed=99)
    source = load_image_folder(folder)
    assert len(source.train) + len(source.validation) == 31


def test_images_are_decoded_again_only_if_a_file_changes(folder: Path) -> None:
    first = load_image_folder(folder)
    made = {path: path.stat().st_mtime_ns for path in cache_folder().rglob("*")}
    again = load_image_folder(folder)
    assert {path: path.stat().st_mtime_ns for path in cache_folder().rglob("*")} == made
    assert again.digest == first.digest
    write_image(folder / "test" / "cat" / "000.png", seed=12345)
    changed = load_image_folder(folder)
    assert changed.digest != first.digest
    assert not torch.equal(changed.test.inputs[0], first.test.inputs[0])
    assert torch.equal(changed.test.inputs[1:], first.test.inputs[1:])


def test_other_images_of_the_same_names_sizes_and_times_are_decoded(tmp_path: Path) -> None:
    """Archives and copies keep modification times, and images without compression have equal sizes."""
    folders = [make_folder(tmp_path / name, suffix=".ppm") for name in ("a", "b")]
    write_image(folders[1] / "train" / "cat" / "000.ppm", seed=12345)
    for path in tmp_path.rglob("*.ppm"):
        os.utime(path, (1, 1))
    first, second = map(load_image_folder, folders)
    assert first.digest != second.digest


def test_digest_depends_only_on_the_content(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    os.utime(tmp_path / "copy" / "train" / "cat" / "000.png", (1, 1))
    assert load_image_folder(folder).digest == load_image_folder(tmp_path / "copy").digest


def test_simultaneous_decoding_gives_equal_data(folder: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        digests = {source.digest for source in pool.map(load_image_folder, [folder] * 2)}
    assert len(digests) == 1
    assert len([path for path in cache_folder().iterdir() if path.is_dir()]) == 1


def test_load_data_splits_and_normalises_an_image_folder(folder: Path) -> None:
    data = load_data(ImageFolderData(name="image_folder", path=str(folder)), torch.device("cpu"))
    assert data.shape == (3, 6, 8)
    assert (len(data.train), len(data.validation), len(data.test)) == (27, 3, 30)
    means = data.normalise(data.train.inputs).double().mean((0, 2, 3))
    assert torch.allclose(means, torch.zeros(3, dtype=torch.float64), atol=1e-6)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere' does not exist; put images into train/<class>/ and test/<class>/"):
        load_image_folder(tmp_path / "nowhere")


def test_a_missing_split_is_named(folder: Path) -> None:
    shutil.rmtree(folder / "test")
    with pytest.raises(DataError, match=r"images/test' does not exist; put one folder of images per class there"):
        load_image_folder(folder)


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty" / "train").mkdir(parents=True)
    with pytest.raises(DataError, match=r"empty/train' has no class folders"):
        load_image_folder(tmp_path / "empty")


def test_an_empty_class_is_named(folder: Path) -> None:
    for path in (folder / "test" / "dog").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"test/dog' has no images"):
        load_image_folder(folder)


def test_one_class_is_too_few(folder: Path) -> None:
    for split in ("train", "test"):
        shutil.rmtree(folder / split / "dog")
    with pytest.raises(DataError, match=r"train has 1 class folder; at least 2 are needed"):
        load_image_folder(folder)


def test_different_classes_in_train_and_test_are_named(folder: Path) -> None:
    (folder / "test" / "dog").rename(folder / "test" / "fox")
    with pytest.raises(DataError, match=r"only one of them has: dog, fox"):
        load_image_folder(folder)


def test_an_unreadable_image_is_named_and_nothing_is_cached(folder: Path) -> None:
    bad = folder / "train" / "dog" / "007.png"
    bad.write_bytes(bad.read_bytes()[:60])
    with pytest.raises(DataError, match=r"image '.*train/dog/007.png' cannot be read \(.*\); replace or remove it"):
        load_image_folder(folder)
    (lock,) = cache_folder().iterdir()
    assert lock.suffix == ".lock"


def test_file_that_is_not_an_image_is_named(folder: Path) -> None:
    (folder / "test" / "cat" / "note.png").write_text("not an image")
    with pytest.raises(DataError, match=r"note.png' cannot be read"):
        load_image_folder(folder)


def test_image_of_a_different_size_is_named(folder: Path) -> None:
    write_image(folder / "test" / "cat" / "big.png", seed=1, size=(9, 6))
    with pytest.raises(DataError, match=r"big.png' is 9x6, expected 8x6 like the first image; resize it"):
        load_image_folder(folder)


def test_too_few_images_for_a_validation_split_are_reported(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "few", per_class=2)
    with pytest.raises(DataError, match=r"4 training samples are too few to hold out 10%"):
        load_data(ImageFolderData(name="image_folder", path=str(folder)), torch.device("cpu"))


def test_available_describes_the_state_of_a_folder(folder: Path) -> None:
    config = ImageFolderData(name="image_folder", path=str(folder))
    assert available(config) == f"image_folder: 60 images in {folder}, not decoded yet"
    load_image_folder(folder)
    (decoded,) = cache_folder().glob("decoded-*")
    assert available(config) == f"image_folder: decoded in {decoded}"
    shutil.rmtree(folder / "test")
    assert available(config).startswith(f"image_folder: not usable: data folder '{folder / 'test'}' does not exist")
