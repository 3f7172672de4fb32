"""Finds the sweep that a command or a function of the Python interface is about."""

from collections.abc import Sequence

from orchestrator.store.storage import Storage
from orchestrator.study.expectations.expectation import Expectation
from orchestrator.study.sweep import Sweep, load_sweep, sweep_file


def stored_or_loaded(sweep: Sweep | str, store: Storage) -> Sweep:
    """Returns the sweep as it was last run, or as it is defined if it was never run."""
    name = sweep if isinstance(sweep, str) else sweep.name
    if name in store.sweeps():
        return store.sweep(name).read_manifest()[0]
    return load_sweep(sweep) if isinstance(sweep, str) else sweep


def desired(sweep: Sweep | str, overrides: Sequence[str] | None, store: Storage) -> Sweep:
    """Loads a sweep with overrides. A sweep that was run before keeps its name in the storage.

    A stored sweep without a file in ``sweeps/``, such as one that ``--set`` defined, is read as it was last run.

    Raises:
        ValueError: if there are overrides of a sweep that has no file.
    """
    if isinstance(sweep, Sweep):
        return sweep
    if not sweep_file(sweep) and sweep in store.sweeps():
        if overrides:
            raise ValueError(
                f"sweep {sweep!r} is stored but has no file in sweeps/, so --set cannot change it; give the path of "
                "its file, and all --set options"
            )
        return store.sweep(sweep).read_manifest()[0]
    return load_sweep(sweep, overrides or (), lambda name: name in store.sweeps())


def expectations(sweep: Sweep | str, stored: Sweep) -> tuple[Expectation, ...]:
    """Returns the current expectations of a sweep, from its file if it has one, otherwise from its last run."""
    if isinstance(sweep, Sweep):
        return sweep.expect
    return load_sweep(sweep).expect if sweep_file(sweep) else stored.expect
