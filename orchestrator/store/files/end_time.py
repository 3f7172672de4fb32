"""The end time of a record whose commit is damaged."""

import re

from orchestrator.store.files.commit import Commit

_CHECKPOINT = re.compile(r"[0-9]{5,}-([0-9]+)ms-.+")


def recovered_end_ms(number: int, following: Commit | None, checkpoints: list[str], damaged: bytes) -> int | None:
    """Returns the end time of a damaged record (Unix time in ms), or None if no copy of it is left.

    The recomputed record gets this time. A tracker that already has the record then receives an identical point.
    The copies are tried in order of reliability:

    1. `previous_ms` in the commit of the following record, which a digest protects;
    2. the name of the record's checkpoint, unless it has several checkpoints with different times: one of them
       may come from a writer that was killed before its commit;
    3. the damaged file itself.

    Args:
        number: the number of the damaged record.
        following: the commit of the next record; None if it is missing or damaged too.
        checkpoints: the names of its checkpoints.
        damaged: the content of the damaged file.
    """
    if following and following.previous_ms is not None:
        return following.previous_ms
    times = {int(match[1]) for match in map(_CHECKPOINT.fullmatch, checkpoints) if match}
    if len(times) == 1:
        return times.pop()
    found = re.search(rb'"(?:number|epoch)": %d,\s+"timestamp_ms": ([0-9]+),' % number, damaged)
    return int(found[1]) if found else None
