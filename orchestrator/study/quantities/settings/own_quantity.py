"""A quantity that the user's own function measures."""

from typing import Any

from orchestrator.study.parts.user_code_config import CodeName, UserCodeConfig
from orchestrator.study.quantities.quantity_config import QuantityConfig


class OwnQuantityConfig(QuantityConfig, UserCodeConfig):
    """A function `measure(context)` of the user that returns values by key. Other keys are passed to it."""

    name: CodeName

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that differ from their defaults, and the arguments of the function."""
        return {**super().settings, **self.arguments}
