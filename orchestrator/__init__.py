"""Train many models, measure the curvature of their loss during training, keep every number reproducible.

The functions of this package do what the commands of the same names do::

    from orchestrator import load_sweep, run, frames

    sweep = load_sweep("quickstart", {"seed": [0]})
    run(sweep, engine="local")
    frames(sweep).epochs
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.api.computing import measure, plan, run
    from orchestrator.api.reading import check, frames, report, status
    from orchestrator.study.sweep import Sweep, define_sweep, load_sweep

__all__ = [
    "Sweep",
    "check",
    "define_sweep",
    "frames",
    "load_sweep",
    "measure",
    "plan",
    "report",
    "run",
    "status",
]

_MODULES = {
    "orchestrator.api.computing": ("measure", "plan", "run"),
    "orchestrator.api.reading": ("check", "frames", "report", "status"),
    "orchestrator.study.sweep": ("Sweep", "define_sweep", "load_sweep"),
}


def __getattr__(name: str) -> Any:
    """Imports a public name at its first use. Every process of a trial imports this package."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
