"""Classification of failures, and the next step after each."""

import errno
import pickle
import signal

import pytest
import torch

from orchestrator.scheduling.retry import (
    LONGEST_PAUSE_SECONDS,
    RULES,
    Failure,
    FailureKind,
    NextStep,
    conclusion,
    death,
    decide,
    failure_of,
    pause_seconds,
)
from orchestrator.store.errors import DamagedError, StorageError
from orchestrator.training.data.samples import DataError
from orchestrator.training.user_code.extension_point import UserCodeError


def raised(error: BaseException) -> Failure:
    try:
        raise error
    except BaseException as caught:
        return failure_of(caught)


def storage_error(number: int) -> StorageError:
    """Returns an error as raised by the store: its message has a fix, and the system's error is hidden behind it."""
    try:
        try:
            raise OSError(number, "said by the system")
        except OSError:
            raise StorageError("storage '/x' cannot be written") from None
    except StorageError as error:
        return error


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), FailureKind.OUT_OF_MEMORY),
        (MemoryError(), FailureKind.OUT_OF_MEMORY),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), FailureKind.OUT_OF_MEMORY),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried"),
            FailureKind.OUT_OF_MEMORY,
        ),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
            FailureKind.OUT_OF_MEMORY,
        ),
        (
            caused(UserCodeError("model 'a:B' raised"), torch.OutOfMemoryError("CUDA out of memory")),
            FailureKind.OUT_OF_MEMORY,
        ),
        (storage_error(errno.EIO), FailureKind.STORAGE),
        (storage_error(errno.ESTALE), FailureKind.STORAGE),
        (caused(StorageError("cannot be read"), ConnectionError("no answer")), FailureKind.STORAGE),
        (DamagedError("/x/00003.json is damaged; run the sweep again"), FailureKind.DAMAGED),
        (
            caused(DamagedError("/x/00003.json is damaged; run the sweep again"), KeyError("record")),
            FailureKind.DAMAGED,
        ),
        (StorageError("checkpoint /x is damaged; delete it"), FailureKind.ERROR),
        (caused(StorageError("/x is damaged; delete it"), ValueError("no JSON")), FailureKind.ERROR),
        (OSError(errno.ESTALE, "Stale file handle"), FailureKind.STORAGE),
        (storage_error(errno.ENOSPC), FailureKind.NO_ROOM),
        (storage_error(errno.EDQUOT), FailureKind.NO_ROOM),
        (storage_error(errno.EROFS), FailureKind.NO_ROOM),
        (storage_error(errno.EACCES), FailureKind.NO_ROOM),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), FailureKind.LOST),
        (RuntimeError("CUDA error: all CUDA-capable devices are busy or unavailable"), FailureKind.LOST),
        (RuntimeError("No CUDA GPUs are available: no CUDA-capable device is detected"), FailureKind.LOST),
        (RuntimeError("CUDA error: device-side assert triggered"), FailureKind.ERROR),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "weights.pt"), FailureKind.ERROR),
        (ValueError("the analysis of out of memory errors"), FailureKind.ERROR),
        (DataError("restore the images"), FailureKind.ERROR),
        (UserCodeError("model 'a:B' raised when called"), FailureKind.ERROR),
        (ZeroDivisionError("division by zero"), FailureKind.ERROR),
    ],
    ids=lambda value: value.value if isinstance(value, FailureKind) else f"{type(value).__name__} {value}"[:50],
)
def test_exceptions_are_classified(error: Exception, kind: FailureKind) -> None:
    failure = raised(error)
    assert failure.kind is kind
    assert pickle.loads(pickle.dumps(failure)) == failure


@pytest.mark.parametrize(
    ("kind", "count", "alone", "verdict"),
    [
        (FailureKind.OUT_OF_MEMORY, 1, False, NextStep.ALONE),
        (FailureKind.OUT_OF_MEMORY, 1, True, NextStep.FAILED),
        (FailureKind.OUT_OF_MEMORY, 2, True, NextStep.FAILED),
        (FailureKind.LOST, 1, False, NextStep.AGAIN),
        (FailureKind.LOST, 3, False, NextStep.AGAIN),
        (FailureKind.LOST, 4, False, NextStep.FAILED),
        (FailureKind.LOST, 1, True, NextStep.AGAIN),
        (FailureKind.UNFIT, 3, False, NextStep.AGAIN),
        (FailureKind.UNFIT, 4, False, NextStep.LEFT),
        (FailureKind.STORAGE, 1, False, NextStep.AGAIN),
        (FailureKind.STORAGE, 8, False, NextStep.AGAIN),
        (FailureKind.STORAGE, 9, False, NextStep.LEFT),
        (FailureKind.NO_ROOM, 1, False, NextStep.STOP),
        (FailureKind.DAMAGED, 1, False, NextStep.AGAIN),
        (FailureKind.DAMAGED, 2, False, NextStep.FAILED),
        (FailureKind.ERROR, 1, False, NextStep.FAILED),
        (FailureKind.ERROR, 1, True, NextStep.FAILED),
    ],
)
def test_next_step_of_each_kind(kind: FailureKind, count: int, alone: bool, verdict: NextStep) -> None:
    assert decide(kind, count, alone) is verdict


def test_every_kind_has_a_rule() -> None:
    assert set(RULES) == set(FailureKind)


def test_pauses_double_up_to_a_minute_with_jitter() -> None:
    assert [pause_seconds(count, jitter=0.0) for count in range(1, 8)] == [1, 2, 4, 8, 16, 32, 60]
    assert pause_seconds(40, jitter=0.0) == LONGEST_PAUSE_SECONDS
    assert pause_seconds(3, jitter=1.0) == 2.0
    # Even the shortest pauses of eight retries add up to more than two minutes without storage.
    assert sum(pause_seconds(count, jitter=0.5) for count in range(1, RULES[FailureKind.STORAGE].retries + 1)) > 120


def test_process_death_reports_signal_or_exit_code() -> None:
    assert death(-signal.SIGSEGV).line == "its process died (killed by SIGSEGV)"
    assert death(3).line == "its process died (exit code 3)"
    assert death(None).line == "its process died (for an unknown reason)"
    assert death(-signal.SIGKILL).kind is FailureKind.LOST
    assert death(-signal.SIGKILL, killed_for_memory=True).kind is FailureKind.OUT_OF_MEMORY


def bug(seed: int) -> Failure:
    try:
        raise RuntimeError(f"shapes {seed}x{seed + 1} do not fit at 0x7f{seed}")
    except RuntimeError as error:
        return failure_of(error)


def test_signature_ignores_numbers_in_the_message() -> None:
    assert bug(1).signature == bug(27).signature
    assert bug(1).reason != bug(27).reason
    assert raised(RuntimeError("a")).signature != raised(RuntimeError("b")).signature
    assert raised(KeyError("a")).signature != raised(LookupError("a")).signature


def test_out_of_memory_ends_with_advice() -> None:
    failure = raised(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."))
    said = conclusion(failure, NextStep.FAILED, 1, gpu=True)
    assert said.startswith(
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.; it was alone on its GPU"
    )
    assert "batch_size" in said
    assert "alone on the machine" in conclusion(failure, NextStep.FAILED, 1, gpu=False)
