"""How many samples a chunk holds: a function of model, input shape and kind of device; no stopwatch decides."""

import torch
from torch import Tensor, nn

from estimators.checks import LossFunction, evaluate

# Bytes that a chunk's forward pass may keep for the backward pass. On a CPU the double backward pass reads them
# about three times, and they should come from the cache: the paper's CNN was fastest at 50-250 images a chunk, and
# keeps about 300 kB an image. A GPU wants enough work to be busy, and about four times this of its memory.
_SAVED_BYTES = {"cpu": 32 * 2**20}
_SAVED_BYTES_ON_ACCELERATORS = 512 * 2**20


def default_chunk_size(model: nn.Module, loss_fn: LossFunction, inputs: Tensor, targets: Tensor) -> int:
    """The chunk size for samples like these (one or a few, on the model's device): at least 1."""
    budget = _SAVED_BYTES.get(inputs.device.type, _SAVED_BYTES_ON_ACCELERATORS)
    return max(1, budget * len(inputs) // max(1, _saved_bytes(model, loss_fn, inputs, targets)))


def _saved_bytes(model: nn.Module, loss_fn: LossFunction, inputs: Tensor, targets: Tensor) -> int:
    """Bytes of activations that the forward pass keeps: each storage once, parameters and buffers not at all."""
    own = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    # The tensors are kept alive until the end: a freed address would be counted as one storage with its successor.
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        address = tensor.untyped_storage().data_ptr()
        if address not in own:
            kept.setdefault(address, tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        evaluate(model, loss_fn, inputs, targets)
    # A slice of the data is smaller than its storage, an expanded tensor larger.
    return sum(min(tensor.nbytes, tensor.untyped_storage().nbytes()) for tensor in kept.values())
