"""The `Benchmark` class."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness.machine import Machine, describe, with_best_rates
from benchmarks.harness.results import RESULTS, Result, installed_versions, read, write
from benchmarks.harness.settings import Settings, SkippedError, say
from orchestrator.store.provenance.provenance import capture


@dataclass(frozen=True)
class Benchmark:
    """A function that measures, and functions that format and draw the result."""

    name: str
    measure: Callable[[Settings], Iterator[dict[str, Any]]]
    """Yields the measurements in one or more parts, which are merged."""
    table: Callable[[Result], str]
    """Formats the result as Markdown."""
    figure: Callable[[Result, Path], None] | None = None
    """Draws the result into an SVG file."""
    needs_gpu: bool = False
    threads: int | None = None
    """Number of torch threads. None: that of the settings."""

    def run(self, settings: Settings) -> Result:
        """Runs the benchmark on this machine.

        Raises:
            SkippedError: the benchmark needs a GPU and torch finds none.
        """
        if self.needs_gpu:
            if not torch.cuda.is_available():
                raise SkippedError("torch finds no GPU on this machine")
            settings = replace(settings, device=torch.device("cuda"))
        if self.threads is not None:
            settings = replace(settings, threads=self.threads)
        machine = describe(settings)
        say(f"\n{self.name}: {machine}, load {machine.load:.1f}")
        measured: dict[str, Any] = {}
        for part in self.measure(settings):
            measured |= part
            if settings.scale == "full" and self.needs_gpu:  # access to the GPU may end at any time
                write(self._result(settings, machine, measured), RESULTS)
        return self._result(settings, with_best_rates(machine, settings), measured)

    def _result(self, settings: Settings, machine: Machine, measured: dict[str, Any]) -> Result:
        return Result(
            benchmark=self.name,
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            commit=capture().commit,
            scale=settings.scale,
            data=settings.data_name,
            versions=installed_versions(),
            machine=machine,
            measured={**stored_measurements(self.name, settings, machine), **measured},
        )


def stored_measurements(name: str, settings: Settings, machine: Machine) -> dict[str, Any]:
    """The stored measurements of a benchmark on this machine. Empty unless `only` selects cases of a full run."""
    path = RESULTS / f"{name}-{machine.slug}.json"
    return dict(read(path).measured) if settings.only and settings.scale == "full" and path.exists() else {}
