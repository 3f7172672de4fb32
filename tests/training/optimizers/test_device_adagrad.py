"""AdaGrad with learning rate and step count on the device equals torch's AdaGrad."""

from copy import deepcopy

import pytest
import torch
from torch import nn, optim

from orchestrator.training.optimizers.device_adagrad import DeviceAdagrad

GRADIENTS = [torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64) * scale for scale in (1.0, -0.3, 2.0)]
START = torch.tensor([0.1, 0.2, -0.3], dtype=torch.float64)


@pytest.mark.parametrize(("rate_decay", "initial", "decay"), [(0.0, 0.0, 0.0), (0.1, 0.5, 0.01)])
def test_device_adagrad_equals_torch_adagrad(rate_decay: float, initial: float, decay: float) -> None:
    ours, theirs = nn.Parameter(START.clone()), nn.Parameter(START.clone())
    unused = nn.Parameter(START.clone())
    rate = torch.tensor(0.1, dtype=torch.float64)
    one = DeviceAdagrad([ours, unused], rate, rate_decay, decay, initial, 1e-6)
    other = optim.Adagrad([theirs], 0.1, rate_decay, decay, initial, 1e-6)
    for gradient in GRADIENTS:
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        one.step()
        other.step()
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-9)  # DeviceAdagrad counts steps in float32
        rate.mul_(0.5)
        other.param_groups[0]["lr"] *= 0.5
    assert torch.equal(unused, START)
    assert one.state[ours].keys() == other.state[theirs].keys()


def test_a_restored_optimizer_takes_the_same_steps() -> None:
    rate = torch.tensor(0.1, dtype=torch.float64)
    whole, resumed = nn.Parameter(START.clone()), nn.Parameter(START.clone())
    one = DeviceAdagrad([whole], rate, 0.1, 0.01, 0.5, 1e-6)
    for gradient in GRADIENTS[:2]:
        whole.grad = gradient.clone()
        one.step()
    resumed.data.copy_(whole.data)
    other = DeviceAdagrad([resumed], rate, 0.1, 0.01, 0.5, 1e-6)
    other.load_state_dict(deepcopy(one.state_dict()))  # loading does not copy tensors
    whole.grad, resumed.grad = GRADIENTS[2].clone(), GRADIENTS[2].clone()
    one.step()
    other.step()
    assert torch.equal(whole, resumed)
