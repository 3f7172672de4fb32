"""The update of the weights in a training step."""

from collections.abc import Callable

from torch import Tensor, nn, optim
from torch.nn.utils import clip_grad_norm_

from orchestrator.training.optimizers.build import Config
from orchestrator.training.optimizers.sam import sam_backward
from orchestrator.training.optimizers.user_optimizer import OPTIMIZER


class Update:
    """Takes one optimizer step on the loss of a batch, with SAM and gradient clipping if the config has them.

    Args:
        model: the model to train.
        optimizer: optimizer of the model's parameters.
        config: config of the optimizer; None: neither SAM nor clipping.
    """

    def __init__(self, model: nn.Module, optimizer: optim.Optimizer, config: Config | None = None) -> None:
        self._model, self._optimizer = model, optimizer
        self._name = config.name if config else ""
        self._rho = config.sam.rho if config and config.sam else None
        self._clip = config.gradient_clip if config else None

    def __call__(self, loss: Callable[[], Tensor]) -> None:
        """Updates weights, buffers and the optimizer's state.

        Args:
            loss: computes the mean loss of the batch. Called once, with SAM twice.
        """

        def backward() -> None:
            loss().backward()

        self._optimizer.zero_grad()
        if self._rho is None:
            backward()
        else:
            sam_backward(self._model, self._rho, backward)
        if self._clip is not None:
            clip_grad_norm_(self._model.parameters(), self._clip)
        with OPTIMIZER.errors(self._name, "taking a training step"):
            self._optimizer.step()
