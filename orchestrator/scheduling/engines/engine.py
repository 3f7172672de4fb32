"""The interface of the engines, which run attempts."""

from collections.abc import Callable
from typing import Protocol

from orchestrator.scheduling.attempts import Attempts


class Engine(Protocol):
    """Runs attempts at trials, several at a time. `Attempts` chooses the next attempt and handles failures."""

    def run(self, attempts: Attempts, on_start: Callable[[], None] = lambda: None) -> None:
        """Grants the attempts their resources, then runs them until none is left.

        Args:
            attempts: supplies the attempts and records their outcomes.
            on_start: called once the engine is up, before the first attempt.

        Raises:
            ConnectionError: if the engine cannot be reached, or died too often.
            NoRoomError: if no node has the resources of a trial.
        """
