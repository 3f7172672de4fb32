"""The declaration of a recorded quantity: its key, unit, axis label and meaning."""

import re
from dataclasses import dataclass, replace
from typing import Self


@dataclass(frozen=True)
class Quantity:
    """One measured quantity, or a family whose key has a placeholder: ``{i}`` for a number, others for a name."""

    key: str
    """The key in MLflow and in records."""
    unit: str
    label: str
    """Axis label in matplotlib's notation. It may contain the placeholders of the key."""
    meaning: str
    error: str = ""
    """The key that contains the error, or ``exact``; empty if the quantity is an error or has none."""
    is_error: bool = False
    """Whether it is part of the error of another quantity, in addition to the key that the other one names."""

    @property
    def column(self) -> str:
        """The column of this quantity in tables. The key ``hessian/trace`` has the column ``hessian_trace``."""
        return column_of(self.key)

    @property
    def reproducible(self) -> bool:
        """Whether a rerun must return the same number. Times, and CPU and memory usage, may differ."""
        return is_reproducible(self.key)

    def member(self, column: str) -> Self | None:
        """The quantity in a column; None if the column does not belong to this quantity or family."""
        pattern = re.escape(self.column).replace(r"\{i\}", r"(?P<i>\d+)")
        pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.+)", pattern)
        found = re.fullmatch(pattern, column)
        if found is None:
            return None
        filled = {name: getattr(self, name) for name in ("key", "label", "meaning", "error")}
        for place, value in found.groupdict().items():
            filled = {name: text.replace(f"{{{place}}}", value) for name, text in filled.items()}
        return replace(self, **filled)


def column_of(key: str) -> str:
    """The column of a key in tables."""
    return key.replace("/", "_")


def is_reproducible(key: str) -> bool:
    """Whether a rerun must return the same number for a key. Times, and CPU and memory usage, may differ."""
    return not key.startswith(("time/", "system/"))
