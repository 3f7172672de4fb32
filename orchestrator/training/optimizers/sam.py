"""Sharpness-aware minimization: the gradient at the worst point nearby."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from orchestrator.training.streams import noise_state, set_noise_state


def sam_backward(model: nn.Module, rho: float, backward: Callable[[], None]) -> None:
    """Sets the gradients to those at w + rho g / ||g||, where g is the gradient at the weights w (Foret et al., 2021).

    ||g|| is the 2-norm over all parameters. If it is 0, the gradients are those at w. Afterwards the weights are
    bitwise w. As in the authors' code (github.com/google-research/sam), batch norm statistics and other buffers are
    those of the forward pass at w, and both passes draw the same dropout masks. Weight decay is not part of the loss,
    in contrast to the authors' code; the optimizer adds it at w.

    Args:
        model: has no gradients.
        rho: length of the ascent step.
        backward: computes the loss of the batch and adds its gradient.
    """
    device = next(model.parameters()).device
    random_state = noise_state(device)
    backward()
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with _ascent(model.parameters(), rho):
        model.zero_grad()
        set_noise_state(random_state, device)
        backward()
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])


@contextmanager
def _ascent(parameters: Iterable[nn.Parameter], rho: float) -> Iterator[None]:
    """Moves parameters by rho along their normalized gradient, and copies the former values back at the end."""
    moved = [(parameter.detach(), parameter.grad) for parameter in parameters if parameter.grad is not None]
    weights, gradients = [weight for weight, _ in moved], [gradient for _, gradient in moved]
    former = [weight.clone() for weight in weights]
    norm = torch.nn.utils.get_total_norm(gradients)
    # Dividing by infinity turns a gradient of zero into a step of zero, without synchronizing with the device.
    divisor = torch.where(norm > 0, norm / rho, torch.inf)
    torch._foreach_add_(weights, list(torch._foreach_div(gradients, divisor)))
    del moved, gradients  # their memory is free for the second pass
    try:
        yield
    finally:
        torch._foreach_copy_(weights, former)
