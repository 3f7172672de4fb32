"""Options of a benchmark run."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

import torch

Scale = Literal["full", "quick", "tiny"]
"""``full`` runs the real benchmark, ``quick`` checks in a minute or two that it runs, ``tiny`` is for tests."""
Case = TypeVar("Case")


class SkippedError(Exception):
    """A benchmark cannot run on this machine. The message states the missing requirement."""


@dataclass(frozen=True)
class Settings:
    """The options of a run."""

    data: Path | None = None
    """An image folder. None: random images with the shape of CIFAR-10's, which take the same time."""
    scale: Scale = "full"
    threads: int = os.cpu_count() or 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    """The device of the benchmarks `products`, `traces` and `measurement`."""
    only: tuple[str, ...] = ()
    """Names of the cases to run; empty: all. Stored results of other cases are kept."""

    @property
    def data_name(self) -> str:
        """Description of the data in results."""
        return "random images" if self.data is None else f"image folder {self.data.name}"

    def chosen(self, cases: Mapping[str, Case]) -> dict[str, Case]:
        """The cases to run.

        Raises:
            ValueError: `only` names an unknown case.
        """
        if unknown := set(self.only) - set(cases):
            raise ValueError(f"--only {' '.join(sorted(unknown))}: no such case; the cases are {', '.join(cases)}")
        return {name: case for name, case in cases.items() if not self.only or name in self.only}


def say(line: str) -> None:
    """Prints a line without buffering."""
    print(line, flush=True)
