"""Failed allocations are recognised and named."""

import pytest
import torch

from orchestrator.training.out_of_memory import TooLargeError, is_out_of_memory, named_if_too_large

MORE_THAN_ANY_MACHINE_HAS = 10**17


def test_failed_allocations_of_torch_name_what_is_too_large() -> None:
    message = r"^data d does not fit into memory \(.*can't allocate memory.*\): use less$"
    with pytest.raises(TooLargeError, match=message) as raised, named_if_too_large("data d", "use less"):
        torch.empty(MORE_THAN_ANY_MACHINE_HAS)
    assert raised.value.__cause__ is not None
    assert is_out_of_memory(raised.value.__cause__)


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="a bug"), named_if_too_large("data d", "use less"):
        raise RuntimeError("a bug")
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(OSError("no such file"))
