"""What a run of the benchmarks is asked for."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

import torch

Scale = Literal["full", "quick", "tiny"]
"""``full`` gives the numbers, ``quick`` shows in a minute or two that everything runs, ``tiny`` is for tests."""
Case = TypeVar("Case")


class SkippedError(Exception):
    """A benchmark cannot run on this machine; the message says what is missing."""


@dataclass(frozen=True)
class Settings:
    """The same for all benchmarks of a run."""

    data: Path | None = None
    """An image folder; None: random images of CIFAR-10's shape, which cost the same."""
    scale: Scale = "full"
    threads: int = os.cpu_count() or 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    """What computes, in the benchmarks that can choose."""
    only: tuple[str, ...] = ()
    """Of a benchmark in pieces: the cases to run now, all where none is named. What is stored of the others stays."""

    @property
    def data_name(self) -> str:
        """As it stands in a result."""
        return "random images" if self.data is None else f"image folder {self.data.name}"

    def chosen(self, cases: Mapping[str, Case]) -> dict[str, Case]:
        """The cases to run now.

        Raises:
            ValueError: where one that is asked for does not exist.
        """
        if unknown := set(self.only) - set(cases):
            raise ValueError(f"--only {' '.join(sorted(unknown))}: no such case; there are {', '.join(cases)}")
        return {name: case for name, case in cases.items() if not self.only or name in self.only}


def say(line: str) -> None:
    """Prints a line of progress at once."""
    print(line, flush=True)
