"""The number of samples per chunk. It depends on model, input shape and kind of device, not on measured times."""

import torch
from torch import Tensor, nn

from estimators.problem.checks import LossFunction, evaluate
from estimators.problem.saved_tensors import recording_saved

# Bytes that the forward pass of a chunk may save for the backward pass. The paper's CNN saves about 300 kB per image,
# so a chunk on a CPU has 166 images. Products are 8% faster with 250 images than with 111, but a coarse start of
# Lanczos makes one step per chunk and works best with about 24 chunks. A GPU needs larger chunks for full utilization.
# A product takes about ten times this memory, and 16 trials may share 80 GB.
_SAVED_BYTES = {"cpu": 48 * 2**20}
_SAVED_BYTES_ON_ACCELERATORS = 256 * 2**20
# A recurrent layer computes step by step, with small matrices for each step. The best chunks of LSTMs are two to three
# times as large as for other networks.
_RECURRENT_FACTOR = {"cpu": 2}
# The exact trace holds all columns of a chunk in addition to its graph, so it uses smaller chunks on a CPU.
_EXACT_TRACE_SHARE = {"cpu": 2 / 3}


def default_chunk_size(model: nn.Module, loss_fn: LossFunction, inputs: Tensor, targets: Tensor) -> int:
    """The chunk size, at least 1, for samples like ``inputs`` (one or a few, on the model's device)."""
    budget = _SAVED_BYTES.get(inputs.device.type, _SAVED_BYTES_ON_ACCELERATORS)
    if any(isinstance(module, nn.RNNBase) for module in model.modules()):
        budget *= _RECURRENT_FACTOR.get(inputs.device.type, 1)
    return max(1, budget * len(inputs) // max(1, _saved_bytes(model, loss_fn, inputs, targets)))


def exact_trace_chunk_size(chunk_size: int, device: torch.device) -> int:
    """The chunk size of an exact trace, given the chunk size of products."""
    return max(1, int(_EXACT_TRACE_SHARE.get(device.type, 1.0) * chunk_size))


def _saved_bytes(model: nn.Module, loss_fn: LossFunction, inputs: Tensor, targets: Tensor) -> int:
    """Bytes of activations that a forward pass saves. Each storage counts once; parameters and buffers are excluded."""
    with recording_saved() as saved:
        graph = evaluate(model, loss_fn, inputs, targets)
    excluded = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    storages: dict[int, int] = {}
    for tensor in saved:
        # A slice of the data is smaller than its storage, and an expanded tensor is larger.
        storages.setdefault(tensor.untyped_storage().data_ptr(), min(tensor.nbytes, tensor.untyped_storage().nbytes()))
    del graph  # Keeps the saved tensors alive until here.
    return sum(size for address, size in storages.items() if address not in excluded)
