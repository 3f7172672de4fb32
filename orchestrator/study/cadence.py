"""When a trial is recorded: after every K epochs or K optimizer steps, and at its end."""

import re
from dataclasses import dataclass
from typing import ClassVar, Literal, Self


@dataclass(frozen=True)
class RecordEvery:
    """The distance between two records: ``1 epoch``, ``50 steps``."""

    count: int
    unit: Literal["epoch", "step"]

    PATTERN: ClassVar[str] = "([1-9][0-9]*) (epoch|step)s?"
    """The regular expression of the text in sweep files."""

    @classmethod
    def parse(cls, text: object) -> Self:
        """Parses the text of a sweep file.

        Raises:
            ValueError: it is not a number of epochs or steps.
        """
        found = re.fullmatch(cls.PATTERN, text) if isinstance(text, str) else None
        if not found:
            raise ValueError("must be a number of epochs or steps, for example 1 epoch, 5 epochs or 50 steps")
        return cls(int(found[1]), "epoch" if found[2] == "epoch" else "step")

    def __str__(self) -> str:
        return f"{self.count} {self.unit}{'s' if self.count > 1 else ''}"


@dataclass(frozen=True)
class Cadence:
    """The moments of a trial's records. Record 0 is the untrained model, and the last record comes at the end."""

    every: RecordEvery
    length: int
    """Length of the trial, in the unit of `every`."""

    @property
    def last(self) -> int:
        """The number of the last record."""
        return -(-self.length // self.every.count)

    @property
    def in_steps(self) -> bool:
        """Whether records are counted in optimizer steps. Otherwise all fall on whole epochs."""
        return self.every.unit == "step"

    @property
    def uneven(self) -> bool:
        """Whether the last interval between two records is shorter than the others."""
        return self.length % self.every.count > 0

    def position(self, number: int) -> int:
        """Epochs of training before a record, or optimizer steps if records are counted in steps."""
        return min(number * self.every.count, self.length)

    def number(self, position: int) -> int:
        """The number of the record at a position, the inverse of `position`."""
        return -(-int(position) // self.every.count)

    @property
    def default(self) -> bool:
        """Whether there is one record per epoch."""
        return self.every == RecordEvery(1, "epoch")

    def step(self, number: int, steps_per_epoch: int) -> int:
        """Optimizer steps before a record."""
        return self.position(number) if self.in_steps else self.position(number) * steps_per_epoch

    def epoch(self, number: int, steps_per_epoch: int) -> float:
        """Epochs of training before a record; an int if whole."""
        if not self.in_steps:
            return self.position(number)
        whole, rest = divmod(self.position(number), steps_per_epoch)
        return self.position(number) / steps_per_epoch if rest else whole
