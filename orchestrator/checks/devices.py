"""Checks of cores, memory and GPUs."""

import os
from collections.abc import Iterator
from functools import partial

from orchestrator.checks.finding import Finding, checked, ok, problem, warning
from orchestrator.study.sweep import Sweep


def check_devices() -> Iterator[Finding]:
    """Checks that torch can be imported and multiplies matrices correctly on the CPU and on every GPU."""
    try:
        import torch

        from orchestrator.training.devices import check_product, describe_gpu, gpus
    except ImportError as error:
        yield problem("devices", f"torch cannot be imported ({error})", "pip install --force-reinstall torch")
        return

    def product(device: torch.device) -> str:
        check_product(device)
        name = "" if device.type == "cpu" else f"{describe_gpu(device)}, "
        return f"{device}: {name}torch computes correctly"

    for device in (torch.device("cpu"), *gpus()):
        yield checked("devices", partial(product, device))


def check_cores(sweep: Sweep | None) -> Iterator[Finding]:
    """Reports the usable cores and memory of this machine, and checks that it has the GPUs and memory of a trial."""
    try:
        from orchestrator.training.devices import gpus, memory_bytes, usable_cores
    except ImportError:  # reported by check_devices
        return
    cores, usable, memory = os.cpu_count() or 1, usable_cores(), memory_bytes()
    text = f"{cores} cores, {usable} usable"
    text += f", {memory[0] / 2**30:.1f} GiB of memory, {memory[1] / 2**30:.1f} free" if memory else ""
    if usable < cores:
        fitting = max(1, usable // (sweep.resources.cpu if sweep else 1))
        yield warning("devices", text, f"run fewer trials at a time: --max-concurrent {fitting}")
    else:
        yield ok("devices", text)
    wanted, found = sweep.resources.gpu if sweep else 0.0, len(gpus())
    if sweep and wanted != "auto" and wanted > found:
        text = f"torch finds {found} GPUs here, but a trial of sweep {sweep.name!r} requests gpu: {wanted:g}"
        yield warning("devices", text, "run it on a cluster that has them, or use --set resources.gpu=auto")
    needed = sweep.resources.memory_gib if sweep else None
    if sweep and needed and memory and memory[0] < needed * 2**30:
        text = f"a trial of sweep {sweep.name!r} requests memory_gib: {needed:g}, more than this machine has"
        yield warning("devices", text, "run it on a cluster that has it, or use a smaller --set resources.memory_gib=")


def check_ray_resources(cpus: float, gpus: float) -> Iterator[Finding]:
    """Checks that this node has the CPUs and GPUs that are registered with Ray."""
    try:
        from orchestrator.training import devices
    except ImportError:  # reported by check_devices
        return
    cores, found = devices.usable_cores(), len(devices.gpus())
    if cpus > cores:
        text = f"{cpus:g} CPUs of this node are registered with Ray, but only {cores} are usable, so trials share cores"
        yield warning("devices", text, f"start Ray there with --num-cpus={cores}")
    if gpus > found:
        text = f"{gpus:g} GPUs of this node are registered with Ray, but torch finds {found}"
        yield problem("devices", text, "check the node's GPU driver, its torch and Ray's --num-gpus")
    if cpus <= cores and gpus <= found:
        yield ok("devices", f"{cpus:g} CPUs" + (f", {found} GPUs" if found else ""))
