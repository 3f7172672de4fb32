"""The nodes of the connected Ray cluster and their resources.

Import this module only inside `engines.ray.cluster`, which sets environment variables that Ray reads on import.
"""

import json
import logging
import math
import time
from collections.abc import Callable
from typing import Any

import ray
from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS
from ray.experimental.internal_kv import _internal_kv_get

from orchestrator.scheduling.placement import Node, trials_at_a_time
from orchestrator.study.sweep import Resources

log = logging.getLogger(__name__)
_NODES_SECONDS = 5.0
"""Time after which the list of the cluster's nodes is read again."""

Bundle = dict[str, float]
"""The resources of one trial, by Ray's names."""


def bundle_of(resources: Resources) -> Bundle:
    """Returns the resources of one trial by Ray's names."""
    bundle = {"CPU": float(resources.cpu), "GPU": resources.gpu_share}
    if resources.memory_gib:
        bundle["memory"] = math.ceil(resources.memory_gib * 2**30)
    return bundle


def node_memory_gib(node: dict[str, Any]) -> float:
    """Returns the memory that a node offers to Ray. Ray places no trial that requests memory on a node without any."""
    return float(node["Resources"].get("memory", 0.0)) / 2**30


def offering_nodes() -> list[Node]:
    """Returns the living nodes that have CPUs or GPUs, sorted by name."""
    nodes = (
        Node(
            node["NodeManagerHostname"],
            node["Resources"].get("CPU", 0.0),
            node["Resources"].get("GPU", 0.0),
            node_memory_gib(node),
        )
        for node in living_nodes()
    )
    return sorted((node for node in nodes if node.cpus or node.gpus), key=lambda node: node.name)


def first_nodes(stopping: Callable[[], bool], patience_seconds: float = 60.0) -> list[Node]:
    """Returns the nodes that offer resources. If a cluster of fixed size has none, waits for the first one to join.

    The nodes of a new cluster, or of one whose head was restarted, join within seconds. If the run is asked to stop,
    the wait ends, and the result may be empty.
    """
    nodes = offering_nodes()
    if nodes or not fixed_size():
        return nodes
    log.info("waiting for nodes to join the cluster, at most %.0f s", patience_seconds)
    deadline = time.monotonic() + patience_seconds
    while not nodes and time.monotonic() < deadline and not stopping():
        time.sleep(0.5)
        nodes = offering_nodes()
    return nodes


def fixed_size(patience_seconds: float = 10.0) -> bool:
    """Returns whether the cluster certainly has no autoscaler, which could add nodes.

    Ray's monitor names the type of each node. Without an autoscaler, the type is ``node_`` followed by the node's id.
    Version 2 of Ray's autoscaler does not write this status, so its clusters count as growing.
    """
    deadline = time.monotonic() + patience_seconds  # the monitor of a new cluster takes a few seconds
    while True:
        status = json.loads(_internal_kv_get(DEBUG_AUTOSCALING_STATUS) or b"{}")
        types: dict[str, str] = (status.get("autoscaler_report") or {}).get("node_type_mapping") or {}
        if types or time.monotonic() > deadline:
            return bool(types) and all(name == f"node_{node_id}" for node_id, name in types.items())
        time.sleep(0.5)


class Slots:
    """Counts how many trials fit on the cluster at a time. Nodes may join and leave."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._count, self._valid_until = 0, 0.0

    def count(self) -> int:
        """Returns the number of trials that fit. It may be a few seconds old."""
        if (now := time.monotonic()) > self._valid_until:
            self._count = trials_at_a_time(self._resources, offering_nodes())
            self._valid_until = now + _NODES_SECONDS
        return self._count


def avoidable(nodes: list[str], bundle: Bundle) -> list[str]:
    """Returns the nodes to avoid: all of these, or none if no other node has room for the bundle."""
    others = (node for node in living_nodes() if node["NodeID"] not in nodes)
    return nodes if any(_fits(node, bundle) for node in others) else []


def living_nodes() -> list[dict[str, Any]]:
    """Returns Ray's description of each living node."""
    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def _fits(node: dict[str, Any], bundle: Bundle) -> bool:
    """Returns whether a node is large enough for a bundle."""
    return all(node["Resources"].get(name, 0.0) >= needed for name, needed in bundle.items())
