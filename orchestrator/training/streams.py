"""Random streams, one per purpose, so that a change to the draws for one purpose does not affect the others."""

import hashlib

import torch
from torch import Tensor

NoiseState = dict[str, Tensor]
"""States of torch's global generators, by type of device."""


def derived_seed(seed: int, purpose: str, epoch: int = 0) -> int:
    """Returns a 63-bit seed from the digest of seed, purpose and epoch."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{epoch}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def stream(seed: int, purpose: str, epoch: int = 0) -> torch.Generator:
    """Returns a seeded generator on the CPU, so that draws are the same for every device."""
    return torch.Generator().manual_seed(derived_seed(seed, purpose, epoch))


def seed_noise(seed: int, device: torch.device) -> None:
    """Seeds the global generators from which layers on this device, such as dropout, draw.

    Without a CUDA device, `torch.manual_seed` takes milliseconds, and memory that it never frees.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed_all(seed)


def noise_state(device: torch.device) -> NoiseState:
    """Returns the states of the global generators from which layers on this device draw. Does not synchronize."""
    states = {"cpu": torch.get_rng_state()}
    return states | {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else states


def set_noise_state(states: NoiseState, device: torch.device) -> None:
    """Restores the global generators. A state of another type of device has no meaning on this one and is ignored."""
    if "cpu" in states:
        torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
