"""What a run of the benchmarks is asked for."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Scale = Literal["full", "quick", "tiny"]
"""``full`` gives the numbers, ``quick`` shows in a minute or two that everything runs, ``tiny`` is for tests."""


@dataclass(frozen=True)
class Settings:
    """The same for all benchmarks of a run."""

    data: Path | None = None
    """An image folder; None: random images of CIFAR-10's shape, which cost the same."""
    scale: Scale = "full"
    threads: int = os.cpu_count() or 1

    @property
    def data_name(self) -> str:
        """As it stands in a result."""
        return "random images" if self.data is None else f"image folder {self.data.name}"


def say(line: str) -> None:
    """Prints a line of progress at once."""
    print(line, flush=True)
