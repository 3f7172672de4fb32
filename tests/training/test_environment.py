"""Settings are restored after a trial."""

from collections.abc import Iterator

import pytest
import torch

from orchestrator.training.environment import describe, reproducible


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_settings_are_restored_after_a_trial() -> None:
    torch.manual_seed(3)
    random = torch.get_rng_state()
    with reproducible(threads=1):
        assert torch.get_num_threads() == 1
        assert torch.are_deterministic_algorithms_enabled()
        assert _half_of_the_smallest_normal_number() == 0.0
        torch.manual_seed(0)
    assert torch.get_num_threads() == 2
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.equal(random, torch.get_rng_state())
    assert _half_of_the_smallest_normal_number() > 0.0


def test_subnormal_numbers_stay_zero_if_they_were_before() -> None:
    torch.set_flush_denormal(True)
    try:
        with reproducible(threads=1):
            pass
        assert _half_of_the_smallest_normal_number() == 0.0
    finally:
        torch.set_flush_denormal(False)


def test_the_environment_is_described() -> None:
    found = describe(torch.device("cpu"), 2)
    assert (found.device, found.threads, found.torch) == ("cpu", 2, torch.__version__)


def _half_of_the_smallest_normal_number() -> float:
    return float(torch.tensor(torch.finfo(torch.float32).tiny) / 2)
