"""A random stream for every purpose, so that changing one moves no other."""

import hashlib

import torch


def derived_seed(seed: int, purpose: str, epoch: int = 0) -> int:
    """A 63-bit seed for one purpose in one epoch, from the digest of all three."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{epoch}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def stream(seed: int, purpose: str, epoch: int = 0) -> torch.Generator:
    """A generator on the CPU, whatever the trial's device: the same draws everywhere."""
    return torch.Generator().manual_seed(derived_seed(seed, purpose, epoch))
