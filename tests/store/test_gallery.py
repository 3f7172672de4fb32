"""The gallery of a sweep."""

from pathlib import Path

from orchestrator.store.gallery import Gallery
from orchestrator.store.storage import Storage


def test_images_are_read_as_they_were_stored(tmp_path: Path) -> None:
    sweep = Storage(tmp_path).sweep("toy")
    assert sweep.gallery() is None
    gallery = Gallery((0.0, 0.25), ("cat",), (2, 1, 1, 2, 2), bytes(range(8)))
    sweep.write_gallery(gallery)
    assert sweep.gallery() == gallery
