"""Every purpose has its own random stream."""

import torch

from orchestrator.training.streams import derived_seed, stream


def test_the_same_purpose_draws_the_same_numbers() -> None:
    first, again = (torch.randn(5, generator=stream(3, "order of images", 2)) for _ in range(2))
    assert torch.equal(first, again)


def test_seed_purpose_and_epoch_each_give_another_stream() -> None:
    seeds = {derived_seed(*key) for key in [(0, "a", 0), (1, "a", 0), (0, "b", 0), (0, "a", 1), (0, "a/0", 0)]}
    assert len(seeds) == 5


def test_the_derivation_never_changes() -> None:
    # Another derivation would make stored trials irreproducible.
    assert derived_seed(0, "initial weights") == 1762670432507769695


def test_drawing_touches_no_global_state() -> None:
    before = torch.get_rng_state()
    torch.randn(5, generator=stream(0, "anything"))
    assert torch.equal(before, torch.get_rng_state())
