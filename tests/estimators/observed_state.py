"""All state that measuring must leave bitwise unchanged, and a model that changes its own."""

import random

import torch
from torch import Tensor, nn


class CountsAndFails(nn.Module):
    """A model that changes its buffers, draws random numbers and fails on request."""

    calls: Tensor
    replaced: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(3, 2)
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("replaced", torch.zeros(2))
        self.fail = False

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        self.replaced = torch.rand(2)
        if self.fail:
            raise RuntimeError("the loss failed")
        return torch.tanh(self.body(inputs))


def snapshot(model: nn.Module) -> dict[str, object]:
    state: dict[str, object] = {f"value {name}": tensor.clone() for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        gradient = parameter.grad
        state |= {
            f"grad {name}": None if gradient is None else gradient.clone(),
            f"requires {name}": parameter.requires_grad,
        }
    state |= {f"mode {name}": module.training for name, module in model.named_modules()}
    state |= {f"identity {name}": id(tensor) for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
    state["random"] = (torch.get_rng_state(), random.getstate())
    state["flags"] = (
        torch.is_grad_enabled(),
        torch.get_float32_matmul_precision(),
        torch.backends.cuda.flash_sdp_enabled(),
        torch.backends.cuda.mem_efficient_sdp_enabled(),
        torch.backends.mkldnn.matmul.fp32_precision,
        torch.is_autocast_enabled("cpu"),
    )
    return state


def assert_same(found: dict[str, object], expected: dict[str, object]) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        if isinstance(value, Tensor):
            assert isinstance(found[key], Tensor) and torch.equal(found[key], value), key  # type: ignore[arg-type]
        elif key == "random":
            (torch_found, python_found), (torch_expected, python_expected) = found[key], value  # type: ignore[misc]
            assert torch.equal(torch_found, torch_expected) and python_found == python_expected
        else:
            assert found[key] == value, key
