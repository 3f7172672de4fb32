"""The Hessian of a mean loss, defined by matrix-vector products."""

from torch import Tensor

from estimators.operators.curvature import CurvatureOperator
from estimators.operators.graphs.chunk_graph import ChunkGraph, GradientGraph
from estimators.problem.checks import LossFunction


class HessianOperator(CurvatureOperator):
    """The Hessian [size, size] of ``model``'s mean loss over all samples of ``batches``.

    Vectors are flat, in ``model.parameters()`` order over the parameters that require grad. A parameter that the loss
    does not depend on has zero rows. Products use the current parameters and mode of the model. They differentiate
    twice (equations (9)-(11) of the paper; Pearlmutter, 1994), chunk by chunk, and weight each chunk by its number of
    samples. Model, random streams and flags are left bitwise unchanged.

    A product costs 9F, where F is the cost of a forward pass over the data: 3F to build the graph of the gradient and
    6F to differentiate it. A block of k vectors shares the graph: 6F + 3F/k each. Algorithms keep graphs between their
    products, so every product after the first costs 6F. ``with op.keeping_graphs():`` keeps them for several
    algorithms. All of these give bit-identical products. Apart from kept graphs, memory holds the graph of one chunk
    and a few vectors.

    Args:
        model: in the mode to be measured; no active dropout, no batch norm in train mode.
        loss_fn: ``loss_fn(outputs, targets)``, a mean over samples; checked against the losses of single samples
            during the first pass over the data. A penalty on the weights may be added. If rounding in float32 would be
            visible, the loss is evaluated in float64.
        batches: an (inputs, targets) pair of tensors, or a re-iterable of such pairs in a fixed order. Chunks are moved
            to the model's device.
        chunk_size: maximum number of samples differentiated at a time (chunks do not span batches). None: chosen from
            model, input shape and kind of device so that a chunk fits a CPU's cache; see ``op.chunk_size``.
        memory_budget: bytes of graphs that the operator and its subsets may keep between the products of an algorithm.
            Graphs that do not fit are built again for every product. 0 keeps none. The default, 1 GiB, is enough for
            6,000 images in the paper's CNN (0.17 MB each).
        validate: False skips the checks that evaluate model, loss and data. They take as long as a few products on a
            thousand samples of a small network. Only if an earlier operator with the same model, loss and data passed.

    Raises:
        ValueError: if model, loss or data cannot be measured; the message names the fix.

    >>> import torch
    >>> from torch import nn
    >>> op = HessianOperator(nn.Linear(3, 1), nn.functional.mse_loss, (torch.ones(8, 3), torch.zeros(8, 1)))
    >>> op @ torch.tensor([1.0, 0.0, 0.0, 0.0])
    tensor([2., 2., 2., 2.])
    """

    def _graph_of(self, outputs: Tensor, loss: Tensor, loss_fn: LossFunction, targets: Tensor) -> ChunkGraph:
        return GradientGraph.of(loss, self._parameters, len(outputs))
