"""The nodes of a cluster, as Ray describes them."""

import json
from typing import Any

import pytest

ray = pytest.importorskip("ray")

from orchestrator.scheduling.engines import ray_nodes  # noqa: E402
from orchestrator.scheduling.engines.ray_nodes import (  # noqa: E402
    Slots,
    avoidable,
    bundle_of,
    first_nodes,
    fixed_size,
    offering_nodes,
)
from orchestrator.scheduling.placement import Node  # noqa: E402
from orchestrator.study.sweep import Resources  # noqa: E402


def nodes(**cpus: float) -> list[dict[str, Any]]:
    return [
        {"NodeID": name, "NodeManagerHostname": name, "Alive": True, "Resources": {"CPU": count}}
        for name, count in cpus.items()
    ]


def test_a_node_is_avoided_only_if_another_one_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: nodes(a=4, b=4, c=1))
    assert avoidable(["a"], {"CPU": 2, "GPU": 0}) == ["a"]
    assert avoidable(["a", "b"], {"CPU": 2, "GPU": 0}) == []
    assert avoidable(["a"], {"CPU": 1, "GPU": 1}) == []
    assert avoidable(["a"], {"CPU": 5, "GPU": 0}) == []


def test_slots_are_counted_on_live_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    dead = {"NodeID": "d", "Alive": False, "Resources": {"CPU": 64}}
    monkeypatch.setattr(ray, "nodes", lambda: [*nodes(a=4, b=3, c=1), dead])
    assert Slots(Resources(cpu=2)).count() == 3


def test_nodes_that_offer_nothing_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = {"NodeID": "g", "NodeManagerHostname": "g", "Alive": True, "Resources": {}}
    gpus["Resources"] = {"CPU": 8.0, "GPU": 2.0, "memory": 3.0 * 2**30}
    monkeypatch.setattr(ray, "nodes", lambda: [gpus, *nodes(driver=0, b=1)])
    assert offering_nodes() == [Node("b", 1, 0.0, 0.0), Node("g", 8.0, 2.0, 3.0)]


def test_a_bundle_has_the_resources_of_a_trial() -> None:
    assert bundle_of(Resources(cpu=2, gpu=0.5)) == {"CPU": 2.0, "GPU": 0.5}
    assert bundle_of(Resources(memory_gib=1.5)) == {"CPU": 1.0, "GPU": 0.0, "memory": 1_610_612_736}


@pytest.mark.parametrize(
    ("types", "fixed"),
    [
        ({"abc": "node_abc", "def": "node_def"}, True),
        ({"abc": "ray.head.default"}, False),
        ({"abc": "node_abc", "def": "gpu"}, False),
        ({}, False),
    ],
)
def test_a_cluster_whose_nodes_have_types_may_grow(
    monkeypatch: pytest.MonkeyPatch, types: dict[str, str], fixed: bool
) -> None:
    """The statuses of a manual cluster, of an autoscaler, and of a cluster without a status."""
    status: dict[str, Any] = {"autoscaler_report": {"node_type_mapping": types}} if types else {}
    monkeypatch.setattr(ray_nodes, "_internal_kv_get", lambda key: json.dumps(status).encode() if status else None)
    assert fixed_size(patience_seconds=0.0) is fixed


def test_a_cluster_that_grows_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: nodes(head=0))
    monkeypatch.setattr(ray_nodes, "fixed_size", lambda: False)
    assert first_nodes(lambda: False) == []


def test_a_stop_ends_the_wait_for_the_first_node(
    monkeypatch: pytest.MonkeyPatch, messages: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: nodes(head=0))
    monkeypatch.setattr(ray_nodes, "fixed_size", lambda: True)
    assert first_nodes(lambda: True) == []
    assert messages.messages == ["waiting for nodes to join the cluster, at most 60 s"]
