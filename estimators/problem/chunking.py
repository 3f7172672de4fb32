"""The number of samples per chunk: a function of model, input shape and kind of device, never of measured times."""

import torch
from torch import Tensor, nn

from estimators.problem.checks import LossFunction, evaluate
from estimators.problem.saved_tensors import recording_saved

# Bytes that the forward pass of a chunk may save for the backward pass. On a CPU this gives 166 images of the paper's
# CNN, which saves about 300 kB per image. Products are 8% faster with 250 images than with 111, but a coarse start of
# Lanczos makes one step per chunk and wants about 24 chunks. A GPU needs larger chunks to be busy; a product takes
# about ten times this memory, and 16 trials may share 80 GB.
_SAVED_BYTES = {"cpu": 48 * 2**20}
_SAVED_BYTES_ON_ACCELERATORS = 256 * 2**20
# The exact trace holds all columns of a chunk in addition to its graph, so its chunks are smaller on a CPU.
_EXACT_TRACE_SHARE = {"cpu": 2 / 3}


def default_chunk_size(model: nn.Module, loss_fn: LossFunction, inputs: Tensor, targets: Tensor) -> int:
    """The chunk size for samples like these (one or a few, on the model's device): at least 1."""
    budget = _SAVED_BYTES.get(inputs.device.type, _SAVED_BYTES_ON_ACCELERATORS)
    return max(1, budget * len(inputs) // max(1, _saved_bytes(model, loss_fn, inputs, targets)))


def exact_trace_chunk_size(chunk_size: int, device: torch.device) -> int:
    """The chunk size of an exact trace, given that of products."""
    return max(1, int(_EXACT_TRACE_SHARE.get(device.type, 1.0) * chunk_size))


def _saved_bytes(model: nn.Module, loss_fn: LossFunction, inputs: Tensor, targets: Tensor) -> int:
    """Bytes of activations that a forward pass saves: each storage once, without parameters and buffers."""
    with recording_saved() as saved:
        graph = evaluate(model, loss_fn, inputs, targets)
    excluded = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    storages: dict[int, int] = {}
    for tensor in saved:
        # A slice of the data is smaller than its storage, an expanded tensor larger.
        storages.setdefault(tensor.untyped_storage().data_ptr(), min(tensor.nbytes, tensor.untyped_storage().nbytes()))
    del graph  # It keeps the saved tensors alive until here.
    return sum(size for address, size in storages.items() if address not in excluded)
