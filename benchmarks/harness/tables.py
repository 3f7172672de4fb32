"""Markdown tables, aligned so that they are readable as text."""

from collections.abc import Sequence
from statistics import median


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]], text: int = 1) -> str:
    """A Markdown table. The first `text` columns are aligned left, the others right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        aligned = [
            cell.ljust(width) if column < text else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "| " + " | ".join(aligned) + " |"

    rule = "|" + "|".join("-" * (width + 1) + ("-" if i < text else ":") for i, width in enumerate(widths)) + "|"
    return "\n".join([line(header), rule, *(line(row) for row in rows)])


def spread(samples: Sequence[float], scale: float = 1.0) -> str:
    """Median and range, such as ``17.2 (16.9-18.0)``."""
    middle, low, high = (scale * value for value in (median(samples), min(samples), max(samples)))
    return f"{number(middle)} ({number(low)}-{number(high)})"


def number(value: float) -> str:
    """Formats a number with two decimals below 10, one below 100, and none above."""
    magnitude = abs(value)
    return f"{value:.0f}" if magnitude >= 100 else f"{value:.1f}" if magnitude >= 10 else f"{value:.2f}"


def percent(share: float) -> str:
    """Formats a fraction as a percentage with one decimal."""
    return f"{share:.1%}"
