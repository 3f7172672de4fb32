"""Modes and orientations of images in a folder."""

import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image

from orchestrator.training.data.cache.decoded_copy import cache_folder
from orchestrator.training.data.images.image_folder import load_image_folder
from orchestrator.training.data.samples import DataError
from tests.training.folders import make_folder

ORIENTATION = 0x0112


pytestmark = pytest.mark.usefixtures("own_cache")


def deep(kind: str, largest: int) -> Image.Image:
    """Returns an 8x6 image with more than 8 bits per pixel."""
    return Image.fromarray(numpy.linspace(0, largest, 48).reshape(6, 8).astype(kind))


@pytest.mark.parametrize(
    ("name", "kind", "largest", "mode"),
    [
        ("16 bits.png", "uint16", 65535, "I;16"),
        ("12 bits.png", "uint16", 4095, "I;16"),
        ("16 bits.tif", "uint16", 65535, "I;16"),
        ("32 bits.tiff", "int32", 2**31 - 1, "I"),
        ("real.tiff", "float32", 1, "F"),
    ],
)
@pytest.mark.parametrize("others", ["RGB", "L"])
def test_an_image_of_more_than_8_bits_is_refused(
    tmp_path: Path, name: str, kind: str, largest: int, mode: str, others: str
) -> None:
    folder = make_folder(tmp_path / "images", per_class=5, mode=others)
    path = folder / "test" / "dog" / name
    deep(kind, largest).save(path)
    message = (
        f"image {str(path)!r} has mode {mode!r}, expected 8 bits per channel; scale its values to 0...255 and save it "
        "again, for example with Image.fromarray((255 * (x - low) / (high - low)).round().astype('uint8')).save(path)"
    )
    with pytest.raises(DataError, match=re.escape(message)):
        load_image_folder(folder)
    assert [path.suffix for path in cache_folder().iterdir()] == [".lock"]


def test_16_bits_per_colour_keep_their_high_bytes(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "images", per_class=5)
    path = folder / "test" / "dog" / "z.png"
    high, low = numpy.arange(144).reshape(6, 8, 3), 77
    path.write_bytes(_png_of_16_bits(high * 256 + low))
    assert numpy.array_equal(load_image_folder(folder).test.inputs[-1].permute(1, 2, 0), high)


@pytest.mark.parametrize("odd", ["train/cat/000.png", "train/dog/002.png", "test/dog/004.png"])
def test_one_grey_image_leaves_the_others_in_colour(tmp_path: Path, odd: str) -> None:
    folder = make_folder(tmp_path / "images", per_class=5)
    expected = load_image_folder(folder).train.inputs.shape
    with Image.open(folder / odd) as image:
        image.convert("L").save(folder / odd)
    source = load_image_folder(folder)
    assert source.train.inputs.shape == expected
    with Image.open(folder / "test" / "cat" / "001.png") as image:
        assert torch.equal(source.test.inputs[1], torch.from_numpy(numpy.array(image)).permute(2, 0, 1))


@pytest.mark.parametrize("odd", ["train/cat/000.png", "test/dog/004.png"])
def test_one_image_in_colour_among_grey_ones_keeps_its_colour(tmp_path: Path, odd: str) -> None:
    folder = make_folder(tmp_path / "images", per_class=5, mode="L")
    content = numpy.zeros((6, 8, 3), numpy.uint8)
    content[..., 0] = 200
    Image.fromarray(content).save(folder / odd)
    source = load_image_folder(folder)
    assert source.train.inputs.shape[1] == 3
    everything = torch.cat([source.train.inputs, source.validation.inputs, source.test.inputs])
    assert (everything == torch.tensor([200, 0, 0], dtype=torch.uint8)[:, None, None]).all((1, 2, 3)).sum() == 1


# From the EXIF standard: how the stored rows and columns are displayed.
UPRIGHT: dict[int, Callable[[numpy.ndarray], numpy.ndarray]] = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: numpy.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: numpy.rot90(x),
}


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
@pytest.mark.parametrize("orientation", sorted(UPRIGHT))
def test_the_orientation_is_applied(tmp_path: Path, orientation: int, suffix: str) -> None:
    folder = make_folder(tmp_path / "images", per_class=5, size=(6, 6))
    content = numpy.random.default_rng(0).integers(0, 256, (6, 6, 3), numpy.uint8)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = folder / "test" / "dog" / f"z.{suffix}"
    Image.fromarray(content).save(path, exif=exif, **({"lossless": True} if suffix == "webp" else {}))
    found = load_image_folder(folder).test.inputs[-1].permute(1, 2, 0).numpy()
    assert numpy.array_equal(found, UPRIGHT[orientation](content))


def test_a_turned_image_has_the_size_it_is_shown_with(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "images", per_class=5)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    path = folder / "train" / "cat" / "turned.jpg"
    Image.new("RGB", (6, 8)).save(path, exif=exif)
    assert load_image_folder(folder).train.inputs.shape[2:] == (6, 8)
    Image.new("RGB", (8, 6)).save(path, exif=exif)
    with pytest.raises(DataError, match=r"turned.jpg' is 6x8, expected 8x6 like the first image"):
        load_image_folder(folder)


@pytest.mark.parametrize("target", ["nowhere.png", "link.png"])
def test_a_broken_link_and_a_loop_of_links_are_named(tmp_path: Path, target: str) -> None:
    folder = make_folder(tmp_path / "images", per_class=5)
    link = folder / "train" / "dog" / "link.png"
    link.symlink_to(target)
    with pytest.raises(DataError, match=rf"{re.escape(repr(str(link)))} cannot be read \(.+\); repair or remove it"):
        load_image_folder(folder)


def test_a_loop_of_links_among_the_classes_is_named(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "images", per_class=5)
    link = folder / "train" / "fox"
    link.symlink_to("fox")
    with pytest.raises(DataError, match=rf"{re.escape(repr(str(link)))} cannot be read \(.+\); repair or remove it"):
        load_image_folder(folder)


def _png_of_16_bits(pixels: numpy.ndarray) -> bytes:
    """Encodes RGB values of 16 bits, which Pillow cannot write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
