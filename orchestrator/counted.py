"""A number with its noun, for messages."""


def counted(number: float, noun: str) -> str:
    """Returns ``1 trial``, ``2 trials`` or ``0.5 GPUs``."""
    return f"{number:.12g} {noun}" if number == 1 else f"{number:.12g} {noun}s"
