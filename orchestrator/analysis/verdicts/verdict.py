"""The verdict on a conjecture."""

from dataclasses import dataclass
from enum import StrEnum

ALPHA = 0.05
"""Significance level of all tests."""

CLAIMS = {
    1: "Hyperparameters are different explorers: lambda_max differs between them from early on.",
    2: "lambda_max explains more of the accuracy under distribution shift than the validation accuracy does.",
    3: "The sudden drop of the trace indicates that training has stopped.",
}


class Conclusion(StrEnum):
    """The conclusion on a conjecture."""

    SUPPORTED = "supported"
    NOT_SUPPORTED = "not supported"
    NOT_ENOUGH_DATA = "not enough data"


@dataclass(frozen=True)
class Verdict:
    """The conclusion on one conjecture and the reason for it."""

    conjecture: int
    outcome: Conclusion
    sentence: str
    """The reason, with numbers."""
    left_out: str = ""
    """A sentence about the unused data; empty if all were used."""

    @property
    def claim(self) -> str:
        """The conjecture in one sentence."""
        return CLAIMS[self.conjecture]


def left_out(trials: int, used: int, why: str) -> str:
    """A sentence about unused trials; empty if all were used."""
    return "" if used == trials else f"{trials - used} of {trials} trials could not be used {why}."
