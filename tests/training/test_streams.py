"""Every purpose has its own random stream."""

import torch

from orchestrator.training.streams import derived_seed, noise_state, seed_noise, set_noise_state, stream


def test_the_same_purpose_draws_the_same_numbers() -> None:
    first, again = (torch.randn(5, generator=stream(3, "order of images", 2)) for _ in range(2))
    assert torch.equal(first, again)


def test_seeds_differ_by_seed_purpose_and_epoch() -> None:
    seeds = {derived_seed(*key) for key in [(0, "a", 0), (1, "a", 0), (0, "b", 0), (0, "a", 1), (0, "a/0", 0)]}
    assert len(seeds) == 5


def test_derived_seeds_never_change() -> None:
    # A different derivation would make stored trials irreproducible.
    assert derived_seed(0, "initial weights") == 1762670432507769695


def test_streams_do_not_change_the_global_generator() -> None:
    before = torch.get_rng_state()
    torch.randn(5, generator=stream(0, "anything"))
    assert torch.equal(before, torch.get_rng_state())


def test_noise_is_that_of_manual_seed() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    seed_noise(5, torch.device("cpu"))
    assert torch.equal(torch.rand(3), expected)


def test_noise_continues_from_its_state() -> None:
    cpu = torch.device("cpu")
    seed_noise(5, cpu)
    torch.rand(2)
    state = noise_state(cpu)
    expected = torch.rand(3)
    seed_noise(6, cpu)
    set_noise_state(state, cpu)
    assert torch.equal(torch.rand(3), expected)
    before = torch.get_rng_state()
    set_noise_state({"cuda": torch.zeros(16, dtype=torch.uint8)}, cpu)  # of a trial that moves to a CPU
    assert torch.equal(torch.get_rng_state(), before)
