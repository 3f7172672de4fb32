"""How an attempt at a trial ended, and what happens next: the same for every engine.

| kind | again | what it was then |
|---|---|---|
| out of memory | once, alone | failed, with advice |
| lost: the process, its node or its GPU went away | with a growing pause, while epochs come in between | failed |
| unfit: its node has other software, or another storage | on other nodes, with a growing pause | left as it stands |
| storage: a hiccup of it | with a growing pause, while epochs come in between | left as it stands, to be gone on with |
| no room: the storage is full, or cannot be written | no, and no other trial either | left as it stands |
| damaged: a file of it, by the medium | once, since an attempt sets aside what can be computed again | failed |
| error: everything else, the user's own code above all | no | failed |

Divergence is no failure but a result.
"""

import errno
import re
import signal
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from orchestrator.store.errors import DamagedError, StorageError
from orchestrator.store.provenance.redaction import failure_line

LONGEST_PAUSE_SECONDS = 60.0
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}
_HICCUP = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ECONNRESET, errno.ENETUNREACH, errno.EHOSTUNREACH}
_OUT_OF_MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory|CUBLAS_STATUS_ALLOC_FAILED")
_BROKEN_GPU = re.compile(
    r"uncorrectable ECC|unspecified launch failure|devices?\(?s?\)? (?:is|are|is/are) busy or unavailable|"
    r"no CUDA-capable device|GPU is lost|hardware stack error|fallen off the bus"
)


class FailureKind(StrEnum):
    """Why an attempt did not come to its end."""

    OUT_OF_MEMORY = "out of memory"
    LOST = "lost"
    UNFIT = "unfit"
    STORAGE = "storage"
    NO_ROOM = "no room"
    DAMAGED = "damaged"
    ERROR = "error"


STORAGE_FAILURES = (FailureKind.STORAGE, FailureKind.NO_ROOM, FailureKind.DAMAGED)
"""No code of anybody's is at fault: what there is to say is in the message."""


class NextStep(StrEnum):
    """What happens to a trial after a failure."""

    AGAIN = "again"
    ALONE = "alone"
    """Again, with nothing beside it on its GPU or machine."""
    FAILED = "failed"
    LEFT = "left"
    """As it stands: nothing is wrong with the trial, the next run goes on with it."""
    STOP = "stop"
    """Left, and every other trial too."""


@dataclass(frozen=True)
class RetryRule:
    """What a kind of failure leads to."""

    tries: int
    """How often the trial is tried again while no epoch is committed in between."""
    again: NextStep
    exhausted: NextStep


RULES = {
    FailureKind.OUT_OF_MEMORY: RetryRule(1, NextStep.ALONE, NextStep.FAILED),
    FailureKind.LOST: RetryRule(3, NextStep.AGAIN, NextStep.FAILED),
    FailureKind.UNFIT: RetryRule(3, NextStep.AGAIN, NextStep.LEFT),
    FailureKind.STORAGE: RetryRule(8, NextStep.AGAIN, NextStep.LEFT),
    FailureKind.NO_ROOM: RetryRule(0, NextStep.AGAIN, NextStep.STOP),
    FailureKind.DAMAGED: RetryRule(1, NextStep.AGAIN, NextStep.FAILED),
    FailureKind.ERROR: RetryRule(0, NextStep.AGAIN, NextStep.FAILED),
}


@dataclass(frozen=True)
class Failure:
    """How an attempt failed. It travels from the worker to the driver, so it holds text only."""

    kind: FailureKind
    reason: str
    """The traceback, or a line where there is none."""
    signature: str
    """Equal for what is the same error: its type, where it was raised, and its message without numbers."""
    node: str = ""
    """Where it happened, as the engine names its nodes."""

    @property
    def line(self) -> str:
        """The error and its message."""
        return failure_line(self.reason)


def decide(kind: FailureKind, count: int, alone: bool = False) -> NextStep:
    """What happens next.

    Args:
        kind: how the attempt failed.
        count: failures of this kind in a row, this one among them, since the trial last committed an epoch.
        alone: whether it had its GPU, or the machine, for itself.
    """
    rule = RULES[kind]
    if kind is FailureKind.OUT_OF_MEMORY:
        return rule.exhausted if alone else rule.again
    return rule.again if count <= rule.tries else rule.exhausted


def pause_seconds(count: int, jitter: float) -> float:
    """How long to wait before the next try: 1, 2, 4, ... seconds, of which `jitter`, from 0 to 1, takes up to half.

    What hits many trials at once, a storage that is away, must not be met by all of them at the same moment again.
    """
    return min(2.0 ** (count - 1), LONGEST_PAUSE_SECONDS) * (1 - jitter / 2)


def failure_of(error: BaseException) -> Failure:
    """What an exception in a worker means."""
    reason = "".join(traceback.format_exception(error))
    return Failure(_kind(error), reason, _signature(error))


def death(exit_code: int | None, killed_for_memory: bool = False) -> Failure:
    """What the end of a worker's process means.

    Args:
        exit_code: negative where a signal ended it, as Python has it; None where nobody knows.
        killed_for_memory: whether the machine had run out of memory and killed it.
    """
    if killed_for_memory:
        line = "its process was killed, since the machine ran out of memory"
        return Failure(FailureKind.OUT_OF_MEMORY, line, line)
    line = f"its process died ({_ending(exit_code)})"
    return Failure(FailureKind.LOST, line, line)


def conclusion(failure: Failure, verdict: NextStep, count: int, gpu: bool) -> str:
    """Why a trial is not tried again, in a line; empty where the failure says it all."""
    if failure.kind is FailureKind.OUT_OF_MEMORY:
        where = "alone on its GPU" if gpu else "alone on the machine"
        return (
            f"{failure.line}; it was {where}: a smaller batch_size, a smaller model or more memory is needed"
            if verdict is NextStep.FAILED
            else failure.line
        )
    if failure.kind is FailureKind.LOST:
        return f"{failure.line}, {count} times without an epoch in between"
    return ""


def _kind(error: BaseException) -> FailureKind:
    chain = list(_chain(error))
    if any(_is_out_of_memory(each) for each in chain):
        return FailureKind.OUT_OF_MEMORY
    if isinstance(error, DamagedError):
        return FailureKind.DAMAGED
    if isinstance(error, StorageError):
        causes = list(_chain(error, hidden=True))[1:]
        if not causes or isinstance(causes[0], ValueError):
            return FailureKind.ERROR  # the store's own judgement: what is damaged stays so
        number = next(filter(None, map(_errno, causes)), None)
        return FailureKind.NO_ROOM if number in _NO_ROOM else FailureKind.STORAGE
    if isinstance(error, OSError) and error.errno in _HICCUP:
        return FailureKind.STORAGE
    if any(isinstance(each, RuntimeError) and _BROKEN_GPU.search(str(each)) for each in chain):
        return FailureKind.LOST
    return FailureKind.ERROR


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's and Ray's
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error)) is not None


def _errno(error: BaseException) -> int | None:
    return error.errno if isinstance(error, OSError) else None


def _chain(error: BaseException, hidden: bool = False) -> Iterator[BaseException]:
    """An exception and those that led to it; with `hidden` those too that were raised `from None`."""
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__ or (each.__context__ if hidden or not each.__suppress_context__ else None)


def _signature(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
    message = re.sub(r"[0-9][0-9a-fA-F.]*", "#", str(error))[:200]
    return f"{type(error).__qualname__} at {where}: {message}"


def _ending(exit_code: int | None) -> str:
    if exit_code is None:
        return "nobody knows why"
    if exit_code < 0:
        try:
            return f"killed by {signal.Signals(-exit_code).name}"
        except ValueError:
            return f"killed by signal {-exit_code}"
    return f"exit code {exit_code}"
