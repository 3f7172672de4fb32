"""How many samples a chunk holds: a function of model, input shape and kind of device; no stopwatch decides."""

import torch
from torch import Tensor, nn

from estimators.operators.graph_cache import recording_saved
from estimators.problem.checks import LossFunction, evaluate

# Bytes that a chunk's forward pass may keep for the backward pass. On a CPU: 166 images of the paper's CNN, which keeps
# about 300 kB of each. Products take 8% less time in chunks of 250 than of 111, but Lanczos from a coarse start makes a
# step a chunk, and wants two dozen. A GPU wants enough work to be busy, and about ten times this of its memory, where
# sixteen trials may share 80 GB.
_SAVED_BYTES = {"cpu": 48 * 2**20}
_SAVED_BYTES_ON_ACCELERATORS = 256 * 2**20
# Of a chunk's samples, where all columns of an exact trace lie beside its graph. On an accelerator there is room.
_BESIDE_COLUMNS = {"cpu": 2 / 3}


def default_chunk_size(model: nn.Module, loss_fn: LossFunction, inputs: Tensor, targets: Tensor) -> int:
    """The chunk size for samples like these (one or a few, on the model's device): at least 1."""
    budget = _SAVED_BYTES.get(inputs.device.type, _SAVED_BYTES_ON_ACCELERATORS)
    return max(1, budget * len(inputs) // max(1, _saved_bytes(model, loss_fn, inputs, targets)))


def chunk_size_beside_columns(chunk_size: int, device: torch.device) -> int:
    """That of an exact trace, where products have ``chunk_size``."""
    return max(1, int(_BESIDE_COLUMNS.get(device.type, 1.0) * chunk_size))


def _saved_bytes(model: nn.Module, loss_fn: LossFunction, inputs: Tensor, targets: Tensor) -> int:
    """Bytes of activations that the forward pass keeps: each storage once, parameters and buffers not at all."""
    with recording_saved() as saved:
        graph = evaluate(model, loss_fn, inputs, targets)
    own = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    storages: dict[int, int] = {}
    for tensor in saved:  # of a graph that is still there
        # A slice of the data is smaller than its storage, an expanded tensor larger.
        storages.setdefault(tensor.untyped_storage().data_ptr(), min(tensor.nbytes, tensor.untyped_storage().nbytes()))
    del graph
    return sum(size for address, size in storages.items() if address not in own)
