"""Decides the resources of trials from those of the nodes, before anything is scheduled."""

import logging
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

    def __str__(self) -> str:
        return f"{self.name} has {counted(self.cpus, 'CPU')} and {counted(self.gpus, 'GPU')}"

    def fits(self, resources: Resources) -> bool:
        """Returns whether a trial can run here."""
        return self.cpus >= resources.cpu and self.gpus >= resources.gpu_share

    def slots(self, resources: Resources) -> int:
        """Returns how many trials fit here at a time."""
        by_cpu = int(self.cpus / resources.cpu)
        return min(by_cpu, int(self.gpus / resources.gpu_share)) if resources.gpu_share > 0 else by_cpu


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
    share = f" and {counted(resources.gpu_share, 'GPU')}" if resources.gpu_share > 0 else ""
    notes = [f"{counted(at_a_time, 'trial')} at a time ({counted(resources.cpu, 'CPU')}{share} each)"]
    if gpus and not share:
        notes.append("the GPUs are not used, because resources.gpu is 0")
    if small := sum(not node.fits(resources) for node in nodes):
        notes.append(f"{counted(small, 'node')} of these {'is' if small == 1 else 'are'} too small for a trial")
    return f"{has}: {'; '.join(notes)}"


def refuse_oversized(resources: Resources, nodes: Sequence[Node]) -> None:
    """Raises NoRoomError if no node is large enough for a trial."""
    if not any(node.fits(resources) for node in nodes):
        raise _no_room(resources, nodes)


def _no_room(resources: Resources, nodes: Sequence[Node]) -> NoRoomError:
    share = resources.gpu_share
    enough_gpus = [node.cpus for node in nodes if node.gpus >= share]
    if enough_gpus:
        fix = f"--set resources.cpu={max(1, int(max(enough_gpus)))}"
    else:
        fix = "--set resources.gpu=0, or --set resources.gpu=auto for a GPU only if there is one"
    has = [*map(str, nodes[:_MOST_NODES]), *([f"{len(nodes) - _MOST_NODES} more nodes"] if nodes[_MOST_NODES:] else [])]
    return NoRoomError(
        f"each trial requests {counted(resources.cpu, 'CPU')} and {counted(share, 'GPU')}, more "
        f"than any machine has ({'; '.join(has) or 'no node has CPUs or GPUs'}); use {fix}"
    )


def this_machine() -> Node:
    """Returns the resources of this machine that torch can use."""
    from orchestrator.training.devices import gpus  # imports torch

    return Node("this machine", os.cpu_count() or 1, len(gpus()))


def on_this_machine(requested: Resources) -> Resources:
    """Returns the resources of trials on this machine, with `gpu: auto` resolved.

    Raises:
        NoRoomError: if a trial requests more GPUs than torch finds here.
    """
    if requested.gpu == 0:
        return requested
    machine = this_machine()
    resources = resolved(requested, [machine])
    if resources.gpu_share > machine.gpus:  # more CPUs than there are is fine: trials then run one at a time
        raise _no_room(resources, [machine])
    return resources
