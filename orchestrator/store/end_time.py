"""The end time of an epoch whose commit is damaged."""

import re

from orchestrator.store.commit import Commit

_CHECKPOINT = re.compile(r"[0-9]{5,}-([0-9]+)ms-.+")


def recovered_end_ms(epoch: int, following: Commit | None, checkpoints: list[str], damaged: bytes) -> int | None:
    """The time at which a damaged epoch ended, Unix time in ms; None if no copy of it is left.

    The epoch is recomputed with this time, so that a tracker that already has the epoch sees the same point again.
    The rule is to take the most reliable copy that is left:

    1. `previous_ms` in the commit of the following epoch, which a digest protects;
    2. the name of the epoch's checkpoint, if all its checkpoints agree: one of two may belong to a writer that was
       killed before its commit;
    3. the damaged file itself.

    Args:
        epoch: the damaged epoch.
        following: the commit of the next epoch; None if it is missing or damaged too.
        checkpoints: the names of the epoch's checkpoints.
        damaged: the content of the damaged file.
    """
    if following and following.previous_ms is not None:
        return following.previous_ms
    times = {int(match[1]) for match in map(_CHECKPOINT.fullmatch, checkpoints) if match}
    if len(times) == 1:
        return times.pop()
    found = re.search(rb'"epoch": %d,\s+"timestamp_ms": ([0-9]+),' % epoch, damaged)
    return int(found[1]) if found else None
