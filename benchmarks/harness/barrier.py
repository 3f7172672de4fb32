"""Lets concurrent trials wait for one another."""

import time
from dataclasses import dataclass
from pathlib import Path

_POLL_SECONDS = 0.01


@dataclass(frozen=True)
class Barrier:
    """A point at which all trials wait until the last one has arrived."""

    folder: Path
    """An existing folder that all trials see."""
    trials: int
    patience_seconds: float = 300.0

    def wait(self, trial: str, point: str = "start") -> None:
        """Waits until all trials have reached a point.

        Raises:
            RuntimeError: if they have not within the patience.
        """
        (self.folder / f"{trial}.{point}").touch()
        deadline = time.time() + self.patience_seconds
        while (here := len(list(self.folder.glob(f"*.{point}")))) < self.trials:
            if time.time() > deadline:
                raise RuntimeError(
                    f"{here} of {self.trials} trials were ready ({point}) within {self.patience_seconds:.0f} s, "
                    "expected all; see their output for errors"
                )
            time.sleep(_POLL_SECONDS)
