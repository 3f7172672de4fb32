"""The kinds of targets that a trial can learn."""

from enum import StrEnum


class Task(StrEnum):
    """What the targets of a data set are."""

    CLASSES = "classes"
    """One class index per sample, int64 [n]."""
    TOKENS = "tokens"
    """A token per position, int64 [n, positions]; -100 where there is no target."""
    LABELS = "labels"
    """Several labels of 0 or 1 per sample, float32 [n, labels]."""
    VALUES = "values"
    """Real numbers, float32 [n, values]."""
