"""Random streams, one per purpose, so that a change to the draws for one purpose does not affect the others."""

import hashlib

import torch


def derived_seed(seed: int, purpose: str, epoch: int = 0) -> int:
    """Returns a 63-bit seed from the digest of seed, purpose and epoch."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{epoch}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def stream(seed: int, purpose: str, epoch: int = 0) -> torch.Generator:
    """Returns a seeded generator on the CPU, so that draws are the same for every device."""
    return torch.Generator().manual_seed(derived_seed(seed, purpose, epoch))
