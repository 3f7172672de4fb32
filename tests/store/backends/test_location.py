"""Locations of a storage."""

import pytest

from orchestrator.store.errors import StorageError
from orchestrator.store.storage import Storage
from tests.store.buckets import SECRET


@pytest.mark.parametrize("place", ["", " "])
def test_an_empty_place_is_refused(place: str) -> None:
    with pytest.raises(StorageError, match=r"storage '\s*' is empty: expected a folder or s3://BUCKET/PREFIX"):
        Storage(place)


@pytest.mark.parametrize(
    "place",
    [f"s3://KEY:{SECRET}@bucket/x", "s3://Bucket", "s3://b", "s3:/bucket", "http://bucket/x", "s3://bucket/a/../b"],
)
def test_invalid_addresses_are_refused_without_showing_secrets(place: str) -> None:
    with pytest.raises(StorageError) as caught:
        Storage(place)
    assert SECRET not in str(caught.value)
