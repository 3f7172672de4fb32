"""The random generators that the user's code can draw from without being given them."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


def global_generators() -> tuple[object, ...]:
    """Returns the states of the global generators of NumPy and Python. Trials seed only those of torch."""
    numpy = np.random.get_state(legacy=False)["state"]  # noqa: NPY002 (users draw from it)
    return numpy["key"].tobytes(), numpy["pos"], random.getstate()


@contextmanager
def seeded_generators(seed: int) -> Iterator[None]:
    """Seeds the global generators of NumPy and Python, and restores their states on exit.

    Args:
        seed: an integer of at least 0.
    """
    numpy, python = np.random.get_state(), random.getstate()  # noqa: NPY002
    np.random.seed(seed % 2**32)  # noqa: NPY002
    random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(numpy)  # noqa: NPY002
        random.setstate(python)
