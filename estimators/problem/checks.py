"""Checks of model, loss and outputs. Each raises a ValueError that says how to fix the problem."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

Forward = Callable[[Tensor], Tensor]
LossFunction = Callable[[Tensor, Tensor], Tensor]

_REPEAT_TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
_DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
_BATCH_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The model's parameters that require grad, by name, in ``model.parameters()`` order.

    Raises:
        ValueError: if there are none, if parameters differ in dtype or device, are neither float32 nor float64, or
            have gradient hooks.
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"model is a {type(model).__name__}, expected a torch.nn.Module: wrap the function in one")
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise ValueError(
                f"module {name!r} is a TorchScript module, expected Python code, since TorchScript replaces operations"
                " and their derivatives: pass the model that was scripted or traced"
            )
    trainable = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if not trainable:
        raise ValueError("no parameter of the model requires grad, expected at least one: call requires_grad_(True)")
    # The integer parameters of quantised layers are irrelevant.
    dtypes = {p.dtype for p in model.parameters() if p.is_floating_point() or p.is_complex()}
    for dtype in dtypes - {torch.float32, torch.float64}:
        complex_fix = "store real and imaginary parts as real parameters"
        raise ValueError(
            f"a parameter of the model is {dtype}, expected torch.float32 or torch.float64, since rounding errors of"
            " other types can exceed second derivatives: "
            + (complex_fix if dtype.is_complex else "convert with model.float() or model.double()")
        )
    if len(dtypes) > 1:
        raise ValueError(f"parameters have several dtypes, {_names(dtypes)}, expected one: convert with model.float()")
    devices = {parameter.device for parameter in model.parameters()}
    if len(devices) > 1:
        raise ValueError(f"parameters are on several devices, {_names(devices)}, expected one: use model.to(device)")
    for name, parameter in model.named_parameters():
        if parameter._backward_hooks:
            raise ValueError(
                f"parameter {name} has a gradient hook, which changes its gradients, expected none:"
                " remove the hook while measuring"
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
        if isinstance(module, _EMBEDDINGS) and (module.max_norm is not None or module.scale_grad_by_freq):
            setting = "max_norm" if module.max_norm is not None else "scale_grad_by_freq"
            reason = "rewrites its weight" if setting == "max_norm" else "has gradients that depend on the chunk"
            raise ValueError(
                f"{type(module).__name__} {name!r} has {setting}={getattr(module, setting)} and {reason}, expected a"
                f" loss whose derivatives exist: set its {setting} to {None if setting == 'max_norm' else False}"
            )
        if isinstance(module, _BATCH_NORM) and (module.training or module.running_mean is None):
            reason = "is in train mode" if module.training else "has no running statistics"
            fix = "call model.eval() before measuring" if module.training else "set track_running_stats=True and train"
            raise ValueError(
                f"{type(module).__name__} {name!r} {reason}, so the loss depends on the chunk size,"
                f" expected eval mode with running statistics: {fix}"
            )


def check_deterministic(model: nn.Module, loss_fn: LossFunction, inputs: Tensor, targets: Tensor) -> None:
    """Raises ValueError if outputs or loss of one chunk differ between two evaluations."""
    # Gradients stay enabled, because a model may differentiate inside its forward pass.
    pairs = (evaluate(model, loss_fn, inputs, targets) for _ in range(2))
    first, second = ([part.detach() for part in pair] for pair in pairs)
    tolerance = _tolerance(_REPEAT_TOLERANCE, first[0].dtype)
    for a, b in zip(first, second, strict=True):
        if a.shape != b.shape or not torch.allclose(a, b, rtol=tolerance, atol=0.0, equal_nan=True):
            raise ValueError(
                f"two evaluations of the first chunk gave losses {float(first[1])!r} and {float(second[1])!r}"
                " (or different outputs), expected equal ones: turn off dropout and other noise in model and loss"
            )


def evaluate(model: Forward, loss_fn: LossFunction, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs and loss of a chunk.

    Raises:
        ValueError: if the outputs are not a tensor with one row per sample, or the loss is not a real scalar.
    """
    outputs = evaluate_model(model, inputs)
    return outputs, evaluate_loss(loss_fn, outputs, targets)


def evaluate_loss(loss_fn: LossFunction, outputs: Tensor, targets: Tensor) -> Tensor:
    """The loss of a chunk as a tensor of shape [].

    Raises:
        ValueError: if it is not a real scalar.
    """
    loss = loss_fn(outputs, targets)
    if not isinstance(loss, Tensor) or loss.numel() != 1 or loss.is_complex():
        raise ValueError(
            f"the loss of a chunk has {_shape_or_type(loss)}, expected a tensor with one real number:"
            ' return the mean over samples (reduction="mean", not "none")'
        )
    return loss.reshape(())


def evaluate_model(model: Forward, inputs: Tensor) -> Tensor:
    """Outputs of a chunk.

    Raises:
        ValueError: if they are not a tensor with one row per sample.
    """
    outputs = model(inputs)
    if not isinstance(outputs, Tensor) or outputs.ndim == 0 or len(outputs) != len(inputs):
        raise ValueError(
            f"the model's outputs for {len(inputs)} samples have {_shape_or_type(outputs)}, expected a tensor with"
            f" {len(inputs)} rows: wrap the model so that it returns one, and name the dimension in squeeze(dim)"
        )
    return outputs


def _tolerance(tolerances: dict[torch.dtype, float], dtype: torch.dtype) -> float:
    return tolerances.get(dtype, max(tolerances.values()))


def _names(values: set[torch.dtype] | set[torch.device]) -> str:
    return ", ".join(sorted(str(value) for value in values))


def _shape_or_type(value: object) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"type {type(value).__name__}"
