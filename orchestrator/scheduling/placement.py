"""Decides the resources of trials from those of the nodes, before anything is scheduled."""

import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.counted import counted
from orchestrator.study.sweep import Resources

log = logging.getLogger(__name__)
_MOST_NODES = 8
"""Maximum number of nodes that an error lists."""


@dataclass(frozen=True)
class Node:
    """The resources of a machine, whether in use or not."""

    name: str
    cpus: float
    gpus: float
    memory_gib: float | None = None
    """None: unknown; then any number of trials fits into it."""

    def fits(self, resources: Resources) -> bool:
        """Returns whether a trial can run here."""
        return self.slots(resources) > 0

    def fits_into_memory(self, resources: Resources) -> bool:
        """Returns whether the memory is large enough for a trial, or unknown."""
        return self.memory_gib is None or self.memory_gib >= (resources.memory_gib or 0.0)

    def slots(self, resources: Resources) -> int:
        """Returns how many trials fit here at a time."""
        shares = [(self.cpus, resources.cpu), (self.gpus, resources.gpu_share)]
        if self.memory_gib is not None:
            shares.append((self.memory_gib, resources.memory_gib or 0.0))
        return min(int(offered / share) for offered, share in shares if share > 0)


class NoRoomError(ValueError):
    """No node is large enough for a trial, so trials would wait forever."""


def resolved(requested: Resources, nodes: Sequence[Node]) -> Resources:
    """Returns the resources with `gpu: auto` resolved: 1 / `trials_per_gpu` if a node has a GPU, none otherwise."""
    if requested.gpu != "auto":
        return requested
    gpus = sum(node.gpus for node in nodes)
    share = requested.trials_per_gpu
    resources = requested.model_copy(update={"gpu": 1.0 / share if gpus > 0 else 0.0})
    found = f"{counted(share, 'trial')} per GPU, of {counted(gpus, 'GPU')}" if gpus else "no GPU found, trials use CPUs"
    log.info("gpu: auto: %s", found)
    return resources


def trials_at_a_time(resources: Resources, nodes: Sequence[Node], max_concurrent: int | None = None) -> int:
    """Returns how many trials fit on the nodes at a time, at most `max_concurrent`."""
    slots = sum(node.slots(resources) for node in nodes)
    return min(slots, max_concurrent or slots)


def capacity(resources: Resources, nodes: Sequence[Node], at_a_time: int) -> str:
    """Returns ``2 nodes, 4 CPUs, 2 GPUs: 2 trials at a time (1 CPU and 1 GPU each)``.

    Notes after it report GPUs that no trial uses, and nodes on which no trial fits.
    """
    cpus, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
    has = f"{counted(len(nodes), 'node')}, {counted(cpus, 'CPU')}, {counted(gpus, 'GPU')}"
    share = [counted(resources.cpu, "CPU")]
    share += [counted(resources.gpu_share, "GPU")] if resources.gpu_share > 0 else []
    share += [f"{resources.memory_gib:g} GiB"] if resources.memory_gib else []
    notes = [f"{counted(at_a_time, 'trial')} at a time ({_listed(share)} each)"]
    if gpus and not resources.gpu_share:
        notes.append("the GPUs are not used, because resources.gpu is 0")
    if small := sum(not node.fits(resources) for node in nodes):
        notes.append(f"{counted(small, 'node')} of these {'is' if small == 1 else 'are'} too small for a trial")
    return f"{has}: {'; '.join(notes)}"


def refuse_oversized(resources: Resources, nodes: Sequence[Node]) -> None:
    """Raises NoRoomError if no node is large enough for a trial."""
    if not any(node.fits(resources) for node in nodes):
        raise _no_room(resources, nodes)


def _no_room(resources: Resources, nodes: Sequence[Node]) -> NoRoomError:
    requested = _request(resources.cpu, resources.gpu_share, resources, resources.memory_gib)
    has = [f"{node.name} has {_request(node.cpus, node.gpus, resources, node.memory_gib)}" for node in nodes]
    rest = [f"{len(has) - _MOST_NODES} more nodes"] if has[_MOST_NODES:] else []
    return NoRoomError(
        f"each trial requests {requested}, more than any machine has "
        f"({'; '.join([*has[:_MOST_NODES], *rest]) or 'no node has CPUs or GPUs'}); use {_fix(resources, nodes)}"
    )


def _request(cpus: float, gpus: float, resources: Resources, memory_gib: float | None) -> str:
    """Returns ``2 CPUs and 1 GPU``, and the memory if trials request any."""
    parts = [counted(cpus, "CPU"), counted(gpus, "GPU")]
    if resources.memory_gib:
        parts.append("unknown memory" if memory_gib is None else f"{_rounded_down(memory_gib):g} GiB")
    return _listed(parts)


def _fix(resources: Resources, nodes: Sequence[Node]) -> str:
    """Returns the options with which a trial fits on a node that has its GPUs, if there is one."""
    with_gpus = [node for node in nodes if node.gpus >= resources.gpu_share]
    if not with_gpus:
        return "--set resources.gpu=0, or --set resources.gpu=auto for a GPU only if there is one"
    with_memory = [node for node in with_gpus if node.fits_into_memory(resources)]
    if with_memory:
        return f"--set resources.cpu={max(1, int(max(node.cpus for node in with_memory)))}"
    largest = _rounded_down(max(node.memory_gib or 0.0 for node in with_gpus))
    return f"--set resources.memory_gib={f'{largest:g}' if largest else 'null, which does not consider memory'}"


def _rounded_down(gib: float) -> float:
    return math.floor(100 * gib) / 100


def _listed(parts: Sequence[str]) -> str:
    """Returns ``a``, ``a and b`` or ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def this_machine() -> Node:
    """Returns the resources of this machine that torch can use."""
    from orchestrator.training.devices import gpus, memory_bytes  # imports torch

    memory = memory_bytes()
    return Node("this machine", os.cpu_count() or 1, len(gpus()), memory[0] / 2**30 if memory else None)


def on_this_machine(requested: Resources) -> Resources:
    """Returns the resources of trials on this machine, with `gpu: auto` resolved.

    Raises:
        NoRoomError: if a trial requests more GPUs than torch finds here, or more memory than there is.
    """
    if requested.gpu == 0 and requested.memory_gib is None:
        return requested
    machine = this_machine()
    resources = resolved(requested, [machine])
    # More CPUs than there are is fine: trials then run one at a time.
    if resources.gpu_share > machine.gpus or not machine.fits_into_memory(resources):
        raise _no_room(resources, [machine])
    return resources
