"""The end time of a damaged epoch comes from the most reliable copy that is left."""

import pytest

from orchestrator.store.files.commit import Commit
from orchestrator.store.files.end_time import recovered_end_ms
from tests.store.stored import record

OWN = b'{"record": {"epoch": 2,\n "timestamp_ms": 9002, "loss_tr'
NAME = "00002-1002ms-first"


def following(previous_ms: int | None) -> Commit:
    return Commit(record(3), "d", "first", "00003-1003ms-first", "c", previous_ms=previous_ms)


@pytest.mark.parametrize(
    ("commit", "checkpoints", "damaged", "expected"),
    [
        (following(1002), ["00002-7ms-other"], OWN, 1002),
        (following(None), [NAME], OWN, 1002),
        (None, [NAME], OWN, 1002),
        (None, [NAME, "00002-1002ms-second"], OWN, 1002),
        (None, [NAME, "00002-77ms-crashed"], OWN, 9002),
        (None, ["00002-1795565298745-80de1f"], OWN, 9002),
        (None, [], OWN, 9002),
        (None, [], b"", None),
        (None, [], b'{"record": {"epoch": 12, "timestamp_ms": 9012,', None),
    ],
    ids=[
        "the following commit first",
        "an early commit without the field",
        "then the name of the checkpoint",
        "several checkpoints that agree",
        "checkpoints that disagree",
        "an early checkpoint name, which begins with the start of the attempt",
        "then the damaged file",
        "no copy is left",
        "the file of another epoch",
    ],
)
def test_end_time_comes_from_the_most_reliable_copy(
    commit: Commit | None, checkpoints: list[str], damaged: bytes, expected: int | None
) -> None:
    assert recovered_end_ms(2, commit, checkpoints, damaged) == expected
