"""AdaGrad for CUDA graphs."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn, optim


class DeviceAdagrad(optim.Adagrad):
    """AdaGrad with learning rate and step count on the device, as a CUDA graph requires.

    torch's AdaGrad reads the step count on the host, and its fused CUDA kernel is missing in some supported versions.
    The update formula and the state are the same as in torch.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: Tensor,
        lr_decay: float,
        weight_decay: float,
        initial_accumulator: float,
        eps: float,
    ) -> None:
        super().__init__(parameters, lr, lr_decay, weight_decay, initial_accumulator, eps, foreach=True)
        for group in self.param_groups:
            group["capturable"] = True  # makes load_state_dict keep the counts on the device
            for parameter in group["params"]:
                self.state[parameter]["step"] = torch.zeros((), device=parameter.device)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Takes one step. Parameters without a gradient are skipped.

        Args:
            closure: not supported.
        """
        assert closure is None
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not parameters:
                continue
            gradients: list[Tensor] | tuple[Tensor, ...] = [parameter.grad for parameter in parameters]
            steps, sums = ([self.state[parameter][name] for parameter in parameters] for name in ("step", "sum"))
            torch._foreach_add_(steps, 1)
            if group["weight_decay"]:
                gradients = torch._foreach_add(gradients, parameters, alpha=group["weight_decay"])
            torch._foreach_addcmul_(sums, gradients, gradients)
            divisors = torch._foreach_sqrt(sums)
            torch._foreach_add_(divisors, group["eps"])
            if group["lr_decay"]:
                slower = torch._foreach_sub(steps, 1)
                torch._foreach_mul_(slower, group["lr_decay"])
                torch._foreach_add_(slower, 1)
                torch._foreach_mul_(divisors, slower)
            torch._foreach_div_(divisors, -group["lr"])
            torch._foreach_addcdiv_(parameters, gradients, divisors)
