"""Classifies failures of attempts and decides what happens next, in the same way for every engine.

| kind | retried | if retries do not help |
|---|---|---|
| out of memory | once, alone | failed, with advice |
| lost: the process, its node or its GPU died | up to 3 times in a row, with a growing pause | failed |
| unfit: the node lacks the GPU, or has other software, code, data or storage | up to 3 times | left for the next run |
| storage: a temporary error of the storage | up to 8 times in a row, with a growing pause | left for the next run |
| no room: the storage is full or read-only | no, and the whole run stops | left for the next run |
| damaged: a stored file is corrupt | once, since an attempt sets aside what can be recomputed | failed |
| error: everything else, above all errors in user code | no | failed |

A committed record resets the counts. Divergence is a result, not a failure.
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
from orchestrator.training.out_of_memory import is_out_of_memory

LONGEST_PAUSE_SECONDS = 60.0
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}
_TEMPORARY = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ECONNRESET, errno.ENETUNREACH, errno.EHOSTUNREACH}
_BROKEN_GPU = re.compile(
    r"uncorrectable ECC|unspecified launch failure|devices?\(?s?\)? (?:is|are|is/are) busy or unavailable|"
    r"no CUDA-capable device|GPU is lost|hardware stack error|fallen off the bus"
)


class FailureKind(StrEnum):
    """Why an attempt failed."""

    OUT_OF_MEMORY = "out of memory"
    LOST = "lost"
    UNFIT = "unfit"
    STORAGE = "storage"
    NO_ROOM = "no room"
    DAMAGED = "damaged"
    ERROR = "error"


STORAGE_FAILURES = (FailureKind.STORAGE, FailureKind.NO_ROOM, FailureKind.DAMAGED)
"""Kinds that are not caused by code. Their message explains the failure without a traceback."""


class NextStep(StrEnum):
    """What happens to a trial after a failure."""

    AGAIN = "again"
    ALONE = "alone"
    """Retried alone on its GPU or machine."""
    FAILED = "failed"
    LEFT = "left"
    """Left for the next run, because the trial itself is fine."""
    STOP = "stop"
    """The run stops. This and every other trial are left for the next run."""


@dataclass(frozen=True)
class RetryRule:
    """How often a kind of failure is retried, and the step after the last retry."""

    retries: int
    """Maximum number of retries without a new record in between."""
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
    """A failed attempt. It holds only text, because it is sent from the worker to the driver."""

    kind: FailureKind
    reason: str
    """The traceback, or one line if there is none."""
    signature: str
    """Type, location and message without numbers; equal for the same error in different trials."""
    node: str = ""
    """The engine's name for the node on which the attempt failed."""

    @property
    def line(self) -> str:
        """The error and its message."""
        return failure_line(self.reason)


def decide(kind: FailureKind, count: int, alone: bool = False) -> NextStep:
    """Returns what happens to a trial next.

    Args:
        kind: how the attempt failed.
        count: number of failures of this kind since the trial last committed a record, including this one.
        alone: whether the attempt had its GPU or machine to itself.
    """
    rule = RULES[kind]
    if kind is FailureKind.OUT_OF_MEMORY:
        return rule.exhausted if alone else rule.again
    return rule.again if count <= rule.retries else rule.exhausted


def pause_seconds(count: int, jitter: float) -> float:
    """Returns the pause before retry number `count`: 1, 2, 4, ... seconds, at most a minute.

    A `jitter` between 0 and 1 shortens it by up to half, so that trials that failed together do not retry together.
    """
    return min(2.0 ** (count - 1), LONGEST_PAUSE_SECONDS) * (1 - jitter / 2)


def failure_of(error: BaseException) -> Failure:
    """Classifies an exception raised in a worker."""
    reason = "".join(traceback.format_exception(error))
    return Failure(_kind(error), reason, _signature(error))


def death(exit_code: int | None, killed_for_memory: bool = False) -> Failure:
    """Classifies the death of a worker process.

    Args:
        exit_code: the exit code; minus the signal number if a signal killed the process; None if unknown.
        killed_for_memory: whether it was killed because the machine ran out of memory.
    """
    if killed_for_memory:
        line = "its process was killed, since the machine ran out of memory"
        return Failure(FailureKind.OUT_OF_MEMORY, line, line)
    line = f"its process died ({_ending(exit_code)})"
    return Failure(FailureKind.LOST, line, line)


def conclusion(failure: Failure, step: NextStep, count: int, gpu: bool) -> str:
    """Returns one line that explains a failure; empty if the failure's own reason is enough."""
    if failure.kind is FailureKind.OUT_OF_MEMORY:
        if step is not NextStep.FAILED:
            return failure.line
        where = "alone on its GPU" if gpu else "alone on the machine"
        return f"{failure.line}; it was {where}: a smaller batch_size, a smaller model or more memory is needed"
    if failure.kind is FailureKind.LOST:
        return f"{failure.line}, {count} times without a new record"
    return ""


def _kind(error: BaseException) -> FailureKind:
    chain = list(_chain(error))
    if any(is_out_of_memory(each) for each in chain):
        return FailureKind.OUT_OF_MEMORY
    if isinstance(error, DamagedError):
        return FailureKind.DAMAGED
    if isinstance(error, StorageError):
        return _storage_kind(error)
    if isinstance(error, OSError) and error.errno in _TEMPORARY:
        return FailureKind.STORAGE
    if any(isinstance(each, RuntimeError) and _BROKEN_GPU.search(str(each)) for each in chain):
        return FailureKind.LOST
    return FailureKind.ERROR


def _storage_kind(error: StorageError) -> FailureKind:
    causes = list(_chain(error, hidden=True))[1:]
    if not causes or isinstance(causes[0], ValueError):
        return FailureKind.ERROR  # the content is wrong, and a retry would read the same
    number = next((each.errno for each in causes if isinstance(each, OSError) and each.errno), None)
    return FailureKind.NO_ROOM if number in _NO_ROOM else FailureKind.STORAGE


def _chain(error: BaseException, hidden: bool = False) -> Iterator[BaseException]:
    """Yields an exception and its causes; with `hidden` also those suppressed by `from None`."""
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
        return "for an unknown reason"
    if exit_code < 0:
        try:
            return f"killed by {signal.Signals(-exit_code).name}"
        except ValueError:
            return f"killed by signal {-exit_code}"
    return f"exit code {exit_code}"
