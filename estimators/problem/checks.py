"""What cannot be measured rightly is refused: each check raises a ValueError that names the fix."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

LossFunction = Callable[[Tensor, Tensor], Tensor]

# A mean loss and the mean of its singletons differ by rounding only: relative to the mean absolute singleton.
_MEAN_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}
_REPEAT_TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
_DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
_BATCH_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def checked_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The model's parameters that require grad, in ``model.parameters()`` order.

    Raises:
        ValueError: if there are none, or if dtypes or devices differ, half-precision and complex ones included.
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"model is a {type(model).__name__}, expected a torch.nn.Module: wrap the function in one")
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trainable:
        raise ValueError("no parameter of the model requires grad, expected at least one: call requires_grad_(True)")
    # Integer parameters, of quantised layers, are left alone.
    dtypes = {p.dtype for p in model.parameters() if p.is_floating_point() or p.is_complex()}
    for dtype in dtypes - {torch.float32, torch.float64}:
        raise ValueError(
            f"a parameter of the model is {dtype}, expected torch.float32 or torch.float64, whose rounding leaves"
            " second derivatives readable: convert with model.float() or model.double()"
        )
    if len(dtypes) > 1:
        raise ValueError(f"parameters have several dtypes, {_names(dtypes)}, expected one: convert with model.float()")
    devices = {parameter.device for parameter in model.parameters()}
    if len(devices) > 1:
        raise ValueError(f"parameters lie on several devices, {_names(devices)}, expected one: use model.to(device)")
    for name, parameter in model.named_parameters():
        if parameter._backward_hooks:
            raise ValueError(
                f"parameter {name} has a gradient hook, which changes the gradients that are differentiated, expected"
                " none: remove the hook while measuring"
            )
    return trainable


def check_mode(model: nn.Module) -> None:
    """Raises ValueError for active dropout and for batch norm that couples the samples of a chunk."""
    for name, module in model.named_modules():
        if isinstance(module, _DROPOUT) and module.training and module.p > 0:
            raise ValueError(
                f"{type(module).__name__} {name!r} with p={module.p} is in train mode, expected a deterministic loss:"
                " call model.eval() before measuring"
            )
        if isinstance(module, _BATCH_NORM) and (module.training or module.running_mean is None):
            reason = "is in train mode" if module.training else "has no running statistics"
            raise ValueError(
                f"{type(module).__name__} {name!r} {reason}, so it couples the samples of a chunk and the chunk size"
                " changes the loss, expected eval mode with running statistics: call model.eval() before measuring"
            )


def check_deterministic(model: nn.Module, loss_fn: LossFunction, inputs: Tensor, targets: Tensor) -> None:
    """Raises ValueError if outputs or loss of one chunk differ between two evaluations."""
    with torch.no_grad():
        first, again = (evaluate(model, loss_fn, inputs, targets) for _ in range(2))
    tolerance = _tolerance(_REPEAT_TOLERANCE, first[0].dtype)
    for a, b in zip(first, again, strict=True):
        if a.shape != b.shape or not torch.allclose(a, b, rtol=tolerance, atol=0.0, equal_nan=True):
            raise ValueError(
                f"two evaluations of the first chunk gave losses {float(first[1])!r} and {float(again[1])!r}"
                " (or outputs that differ), expected equal ones:"
                " turn off dropout and other noise in the model and the loss"
            )


def evaluate(model: nn.Module, loss_fn: LossFunction, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs and loss of a chunk.

    Raises:
        ValueError: if the outputs are no tensor with one row a sample, or the loss is no real scalar.
    """
    outputs = model(inputs)
    if not isinstance(outputs, Tensor) or outputs.ndim == 0 or len(outputs) != len(inputs):
        found = f"shape {tuple(outputs.shape)}" if isinstance(outputs, Tensor) else f"type {type(outputs).__name__}"
        raise ValueError(
            f"the model's outputs for {len(inputs)} samples have {found}, expected a tensor with {len(inputs)} rows:"
            " wrap the model so that it returns one"
        )
    loss = loss_fn(outputs, targets)
    if not isinstance(loss, Tensor) or loss.numel() != 1 or loss.is_complex():
        found = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"type {type(loss).__name__}"
        raise ValueError(
            f"the loss of a chunk has {found}, expected a tensor with one real number:"
            ' return the mean over samples (reduction="mean", not "none")'
        )
    return outputs, loss.reshape(())


class MeanCheck:
    """Is ``loss_fn`` a mean over samples? Then the loss of a chunk is the mean of the losses of its single samples.

    Fed with the outputs of successive chunks, it keeps its finding on the device until :meth:`conclude`. The last
    sample of each chunk is checked with the next chunk too, as a chunk of one sample alone tells nothing. A loss
    that is not finite passes: the result will say NaN, which is the truth.
    """

    def __init__(self, loss_fn: LossFunction) -> None:
        self._loss_fn = loss_fn
        self._last: tuple[Tensor, Tensor] | None = None
        # [chunk loss, mean of singletons] of the first violation; NaN where there is none.
        self._violation: Tensor | None = None

    @torch.no_grad()
    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Check one more chunk: outputs [n, ...] and targets [n, ...]."""
        outputs = outputs.detach()
        if self._last is not None:
            outputs, targets = torch.cat([self._last[0], outputs]), torch.cat([self._last[1], targets])
        self._last = outputs[-1:], targets[-1:]
        loss = self._loss_fn(outputs, targets).reshape(())
        singles = _single_losses(self._loss_fn, outputs, targets)
        mean = singles.mean()
        rounding = torch.finfo(loss.dtype).eps
        bound = _tolerance(_MEAN_TOLERANCE, loss.dtype) * singles.abs().mean() + rounding
        holds = ~torch.isfinite(loss) | ((loss - mean).abs() <= bound)
        found = torch.where(holds, math.nan, torch.stack([loss, mean]))
        if self._violation is None:
            self._violation = found
        else:
            # A mean that is NaN (an ignored target) is a violation as well: only the loss tells.
            self._violation = torch.where(self._violation[0].isnan(), found, self._violation)

    def conclude(self) -> None:
        """Raises ValueError if a chunk had another loss than the mean of its singletons; waits for the device."""
        if self._violation is None or math.isnan(self._violation[0].item()):
            return
        loss, mean = self._violation.tolist()
        raise ValueError(
            f"the loss of a chunk is {loss:.6g} and the mean of the losses of its single samples {mean:.6g}, expected"
            ' equal ones: loss_fn must be a mean over samples. Usual reasons: reduction="sum", class weights,'
            " ignore_index, or a loss that compares samples. Divide a sum by len(targets); multiply weighted or masked"
            ' per-sample losses (reduction="none") and take their .mean()'
        )


def _single_losses(loss_fn: LossFunction, outputs: Tensor, targets: Tensor) -> Tensor:
    """Losses [n] of n samples, each alone."""
    pair = outputs.unsqueeze(1), targets.unsqueeze(1)
    try:
        singles: Tensor = torch.func.vmap(loss_fn)(*pair)
        return singles.reshape(len(outputs))
    except Exception:  # Whatever vmap cannot follow, a loop can; the loss's own errors come again there.
        return torch.stack([loss_fn(output, target).reshape(()) for output, target in zip(*pair, strict=True)])


def _tolerance(tolerances: dict[torch.dtype, float], dtype: torch.dtype) -> float:
    return tolerances.get(dtype, max(tolerances.values()))


def _names(values: set[torch.dtype] | set[torch.device]) -> str:
    return ", ".join(sorted(str(value) for value in values))
