"""The resources of trials, resolved from those of the nodes, and the error if no node has them."""

import pytest
import torch

from orchestrator.scheduling.placement import (
    Node,
    NoRoomError,
    capacity,
    on_this_machine,
    refuse_oversized,
    resolved,
    this_machine,
    trials_at_a_time,
)
from orchestrator.study.sweep import Resources

SMALL = Node("small", 2.0, 0.0)
LARGE = Node("large", 8.0, 1.0)
EIGHT_GIB = Node("eight", 8.0, 0.0, 8.0)


@pytest.mark.parametrize(
    ("nodes", "gpu", "said"),
    [
        ([], 0.0, "no GPU found, trials use CPUs"),
        ([SMALL], 0.0, "no GPU found, trials use CPUs"),
        ([SMALL, LARGE, LARGE], 0.125, "8 trials per GPU, of 2 GPUs"),
    ],
)
def test_auto_is_a_share_of_a_gpu_if_a_node_has_any(
    nodes: list[Node], gpu: float, said: str, messages: pytest.LogCaptureFixture
) -> None:
    assert resolved(Resources(cpu=2, gpu="auto"), nodes) == Resources(cpu=2, gpu=gpu)
    assert messages.messages == [f"gpu: auto: {said}"]


def test_trials_per_gpu_set_the_share() -> None:
    requested = Resources(gpu="auto", trials_per_gpu=1)
    assert resolved(requested, [LARGE]).gpu_share == 1.0
    assert resolved(requested, [SMALL]).gpu_share == 0.0
    assert resolved(Resources(gpu=0.5, trials_per_gpu=4), [LARGE]).gpu_share == 0.5


def test_a_requested_share_is_kept(messages: pytest.LogCaptureFixture) -> None:
    for share in (0.0, 0.125, 2.0):
        assert resolved(Resources(gpu=share), [LARGE]) == Resources(gpu=share)
    assert messages.messages == []


def test_an_unresolved_share_is_an_error() -> None:
    with pytest.raises(ValueError, match="gpu: auto is not resolved"):
        _ = Resources(gpu="auto").gpu_share


@pytest.mark.parametrize(("cpu", "gpu"), [(8, 1.0), (8, 0.0), (1, 0.125)])
def test_a_trial_that_fits_one_node_is_accepted(cpu: int, gpu: float) -> None:
    refuse_oversized(Resources(cpu=cpu, gpu=gpu), [SMALL, LARGE])


@pytest.mark.parametrize(
    ("cpu", "gpu", "nodes", "message"),
    [
        (
            1,
            0.5,
            [SMALL, Node("other", 4.0, 0.0)],
            "each trial requests 1 CPU and 0.5 GPUs, more than any machine has (small has 2 CPUs and 0 GPUs; other has "
            "4 CPUs and 0 GPUs); use --set resources.gpu=0, or --set resources.gpu=auto for a GPU only if there is one",
        ),
        (
            4,
            1.0,
            [Node("a", 16.0, 0.0), Node("b", 2.0, 1.0)],
            "each trial requests 4 CPUs and 1 GPU, more than any machine has (a has 16 CPUs and 0 GPUs; b has 2 CPUs "
            "and 1 GPU); use --set resources.cpu=2",
        ),
        (1, 0.0, [], "more than any machine has (no node has CPUs or GPUs)"),
        (9, 0.0, [LARGE] * 11, "large has 8 CPUs and 1 GPU; 3 more nodes); use --set resources.cpu=8"),
        (9, 0.0, [EIGHT_GIB], "(eight has 8 CPUs and 0 GPUs); use --set resources.cpu=8"),
    ],
)
def test_a_trial_larger_than_every_node_is_refused(cpu: int, gpu: float, nodes: list[Node], message: str) -> None:
    with pytest.raises(NoRoomError) as refused:
        refuse_oversized(Resources(cpu=cpu, gpu=gpu), nodes)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("resources", "nodes", "message"),
    [
        (
            Resources(cpu=2, memory_gib=9),
            [EIGHT_GIB, Node("small", 1.0, 0.0, 4.0)],
            "each trial requests 2 CPUs, 0 GPUs and 9 GiB, more than any machine has (eight has 8 CPUs, 0 GPUs and 8 "
            "GiB; small has 1 CPU, 0 GPUs and 4 GiB); use --set resources.memory_gib=8",
        ),
        (
            Resources(memory_gib=9, gpu=1.0),
            [Node("a", 8.0, 1.0, 7.658), Node("b", 8.0, 0.0, 64.0)],
            "use --set resources.memory_gib=7.65",
        ),
        (
            Resources(memory_gib=9, cpu=9),
            [EIGHT_GIB, Node("b", 4.0, 0.0, 64.0), Node("c", 2.0, 0.0)],
            "c has 2 CPUs, 0 GPUs and unknown memory); use --set resources.cpu=4",
        ),
        (
            Resources(memory_gib=1),
            [Node("none", 4.0, 0.0, 0.0)],
            "none has 4 CPUs, 0 GPUs and 0 GiB); use --set resources.memory_gib=null, which does not consider memory",
        ),
    ],
)
def test_a_trial_with_more_memory_than_every_node_is_refused(
    resources: Resources, nodes: list[Node], message: str
) -> None:
    with pytest.raises(NoRoomError) as refused:
        refuse_oversized(resources, nodes)
    assert message in str(refused.value)


def test_memory_that_is_unknown_or_not_requested_is_not_considered() -> None:
    assert SMALL.slots(Resources(memory_gib=1000)) == EIGHT_GIB.slots(Resources(cpu=4)) == 2
    refuse_oversized(Resources(memory_gib=1000), [SMALL])


def test_this_machine_is_asked_for_its_memory() -> None:
    memory = this_machine().memory_gib
    assert memory is not None
    assert on_this_machine(Resources(memory_gib=memory)) == Resources(memory_gib=memory)
    with pytest.raises(NoRoomError, match="each trial requests 1 CPU, 0 GPUs and 9e[+]06 GiB.*resources.memory_gib="):
        on_this_machine(Resources(memory_gib=9e6))


def test_this_machine_is_asked_for_its_gpus() -> None:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    assert on_this_machine(Resources(cpu=4096, gpu="auto")) == Resources(cpu=4096, gpu=0.125 * (count > 0))
    assert on_this_machine(Resources(cpu=4096)) == Resources(cpu=4096)
    with pytest.raises(NoRoomError, match=f"each trial requests 4096 CPUs and {count + 1} GPU.*this machine has"):
        on_this_machine(Resources(cpu=4096, gpu=count + 1.0))


def test_trials_at_a_time_are_those_that_fit_on_the_nodes() -> None:
    assert [SMALL.slots(Resources(cpu=cpu)) for cpu in (1, 2, 3)] == [2, 1, 0]
    assert [LARGE.slots(Resources(gpu=share)) for share in (0.125, 0.4, 1.0, 2.0)] == [8, 2, 1, 0]
    assert [EIGHT_GIB.slots(Resources(memory_gib=gib)) for gib in (0.5, 2.5, 4, 8, 9)] == [8, 3, 2, 1, 0]
    nodes = [SMALL, LARGE, LARGE]
    assert trials_at_a_time(Resources(cpu=2), nodes) == 9
    assert trials_at_a_time(Resources(gpu=0.25), nodes) == 8
    assert trials_at_a_time(Resources(gpu=0.25), nodes, max_concurrent=3) == 3
    assert trials_at_a_time(Resources(gpu=0.25), nodes, max_concurrent=99) == 8


@pytest.mark.parametrize(
    ("resources", "nodes", "at_a_time", "line"),
    [
        (
            Resources(gpu=1.0),
            [Node("a", 2.0, 1.0), Node("b", 2.0, 1.0)],
            2,
            "2 nodes, 4 CPUs, 2 GPUs: 2 trials at a time (1 CPU and 1 GPU each)",
        ),
        (Resources(cpu=2), [SMALL], 1, "1 node, 2 CPUs, 0 GPUs: 1 trial at a time (2 CPUs each)"),
        (
            Resources(),
            [LARGE],
            8,
            "1 node, 8 CPUs, 1 GPU: 8 trials at a time (1 CPU each); the GPUs are not used, because resources.gpu is 0",
        ),
        (
            Resources(gpu=0.125),
            [SMALL, LARGE],
            8,
            "2 nodes, 10 CPUs, 1 GPU: 8 trials at a time (1 CPU and 0.125 GPUs each); 1 node of these is too small for "
            "a trial",
        ),
        (
            Resources(memory_gib=3),
            [Node("a", 2.0, 0.0, 23.5), Node("b", 2.0, 0.0, 2.0)],
            2,
            "2 nodes, 4 CPUs, 0 GPUs: 2 trials at a time (1 CPU and 3 GiB each); 1 node of these is too small for a "
            "trial",
        ),
        (
            Resources(gpu=0.5, memory_gib=2.5),
            [Node("a", 2.0, 1.0, 23.5)],
            2,
            "1 node, 2 CPUs, 1 GPU: 2 trials at a time (1 CPU, 0.5 GPUs and 2.5 GiB each)",
        ),
        (Resources(gpu=1.0), [], 0, "0 nodes, 0 CPUs, 0 GPUs: 0 trials at a time (1 CPU and 1 GPU each)"),
    ],
)
def test_the_first_line_reports_nodes_and_trials(
    resources: Resources, nodes: list[Node], at_a_time: int, line: str
) -> None:
    assert capacity(resources, nodes, at_a_time) == line
