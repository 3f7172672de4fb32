"""What each operation in autograd's graph does to its differentiable inputs: linear, a product, or curved.

The inputs of an operation are numbered as in the ``next_functions`` of its node, which is the order of torch's
``derivatives.yaml``. An operation that is not listed here is not known, and nothing is ever taken for granted about it.
"""

import re
from dataclasses import dataclass, replace
from typing import Any

import torch

# Linear in all inputs together; masks and indices are no differentiable inputs, and constants.
_LINEAR = """
    Add Sub Rsub Neg NegView Deg2Rad Rad2Deg Sum Mean Nansum Cumsum Trace Where Clone Copy ToCopy Alias
    View UnsafeView ReshapeAlias Expand Permute T Transpose Squeeze Unsqueeze Select Slice Split SplitWithSizes
    UnsafeSplit Unbind Diagonal DiagEmbed AsStrided Unfold Repeat Flip Roll Rot90 Tril Triu Cat
    Stack BlockDiag Index IndexSelect IndexAdd IndexCopy IndexFill IndexPut Gather Scatter ScatterAdd Take Put
    MaskedFill MaskedSelect MaskedScatter SelectScatter SliceScatter DiagonalScatter AsStridedScatter Fill Zero
    Embedding PackPaddedSequence AvgPool2D AvgPool3D AdaptiveAvgPool2D AdaptiveAvgPool3D MaxUnpool2D MaxUnpool3D
    ConstantPadNd ReflectionPad1D ReflectionPad2D ReflectionPad3D ReplicationPad1D ReplicationPad2D ReplicationPad3D
    UpsampleNearest1D UpsampleNearest2D UpsampleNearest3D UpsampleNearestExact1D UpsampleNearestExact2D
    UpsampleNearestExact3D UpsampleLinear1D UpsampleBilinear2D UpsampleBilinear2DAa UpsampleTrilinear3D
    UpsampleBicubic2D UpsampleBicubic2DAa PixelShuffle PixelUnshuffle ChannelShuffle Im2Col Col2Im AffineGridGenerator
    FftC2C FftC2R FftR2C ViewAsReal ViewAsComplex Complex Conj ConjPhysical
"""

# Piecewise linear in all inputs together where they are real: |z| of a complex z is curved.
_PIECEWISE_LINEAR = """
    Relu LeakyRelu Threshold Hardtanh Hardsigmoid Hardshrink Softshrink Abs Clamp ClampMin ClampMax Maximum Minimum
    Fmax Fmin Max Min Amax Amin Aminmax Median Nanmedian Kthvalue Mode Sort Topk Cummax Cummin NanToNum
    MaxPool2DWithIndices MaxPool3DWithIndices AdaptiveMaxPool2D AdaptiveMaxPool3D
"""

# Their derivative is zero wherever it exists.
_PIECEWISE_CONSTANT = "Round Floor Ceil Trunc Sign"


@dataclass(frozen=True)
class Rule:
    """An operation is piecewise linear in its inputs, together but for what is said here."""

    products: tuple[tuple[int, int], ...] = ()
    """Pairs of inputs that are multiplied with each other."""
    curved: tuple[int, ...] = ()
    """Inputs in which it is not piecewise linear."""
    setting: str | None = None
    """An attribute of the operation on which the rule hangs, and"""
    allowed: tuple[object, ...] = ()
    """the values of it for which the rule holds."""
    real: bool = False
    """Does the rule hold for real inputs only?"""
    constant: bool = False
    """Is the result constant but for jumps?"""


def _each(names: str, rule: Rule) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


_RULES = {
    **_each(_LINEAR, Rule()),
    **_each(_PIECEWISE_LINEAR, Rule(real=True)),
    **_each(_PIECEWISE_CONSTANT, Rule(real=True, constant=True)),
    **_each("Mul Mm Bmm Mv Dot Vdot Linear Convolution EmbeddingBag LinalgCross", Rule(products=((0, 1),))),
    **_each("Addmm Addmv Addbmm Baddbmm Addr Addcmul", Rule(products=((1, 2),))),
    **_each("NativeBatchNorm CudnnBatchNorm MiopenBatchNorm", Rule(((0, 1),), setting="training", allowed=(False,))),
    **_each("NativeLayerNorm NativeGroupNorm WeightNormInterface", Rule(curved=(0,))),
    **_each("Div GridSampler2D GridSampler3D", Rule(curved=(1,))),
    "Addcdiv": Rule(curved=(2,)),
    "Lerp": Rule(products=((0, 2), (1, 2))),
    "Trilinear": Rule(products=((0, 1), (0, 2), (1, 2))),
    "PreluKernel": Rule(products=((0, 1),), real=True),
    "RreluWithNoise": Rule(setting="training", allowed=(False,)),
    "Pow": Rule(setting="exponent", allowed=(0, 1)),
    "ScatterReduce": Rule(setting="reduce", allowed=("sum", "mean", "amax", "amin"), real=True),
}

# What a rule can hang on beside the node's name is of these types; a tensor would be compared entry by entry.
_PLAIN = (bool, int, float, str)


def rule_of(node: Any) -> Rule | None:
    """The rule of a node of autograd's graph; None where the operation, or its setting, is not known to have one."""
    rule = _listed_rule(node)
    if rule is None:
        return None
    if rule.setting is not None:
        value = _setting(node, rule)
        if not isinstance(value, _PLAIN) or value not in rule.allowed:
            return None
    if rule.real and any(_is_complex(source, output) for source, output in node.next_functions):
        return None
    # A write into part of a tensor leaves the rest of it as it was.
    return replace(rule, constant=False) if _executed(node) is not node else rule


def operation_name(node: Any) -> str:
    """The operation behind a node, as torch.ops.aten calls it: "max_pool2d_with_indices"."""
    node = _executed(node)
    short = _short_name(node)
    if short is None:
        return str(node.name())
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=\dD)(?=[A-Z])", "_", short).lower()


def describe(node: Any) -> str:
    """The operation with what decides over its rule: "native_batch_norm with training=True"."""
    name, rule = operation_name(node), _listed_rule(node)
    if is_custom(_executed(node)):
        return f"the custom autograd.Function behind {name}"
    if rule is not None and rule.setting is not None and isinstance(value := _setting(node, rule), _PLAIN):
        return f"{name} with {rule.setting}={value}"
    if rule is not None and rule.real and any(_is_complex(*edge) for edge in node.next_functions):
        return f"{name} of complex numbers"
    return name


def is_leaf(node: Any) -> bool:
    """True for the node of a tensor that nothing computed, its ``variable``."""
    return str(node.name()) == "torch::autograd::AccumulateGrad"


def is_custom(node: Any) -> bool:
    """Did a torch.autograd.Function written in Python make this node? Then its backward pass may be anything."""
    return isinstance(node, torch._C._FunctionBase)


def _executed(node: Any) -> Any:
    """The node of the in-place operation where ``node`` is one that wrote through a view; else ``node``.

    Its inputs are those of ``node``, with the whole tensor in place of the view. Older versions of torch hide it: then
    the operation is not known.
    """
    return getattr(node, "_wrapped_node", None) or node


def _listed_rule(node: Any) -> Rule | None:
    return _RULES.get(_short_name(_executed(node)) or "")


def _setting(node: Any, rule: Rule) -> object:
    return getattr(_executed(node), f"_saved_{rule.setting}", None)


def _is_complex(source: Any, output: int) -> bool:
    """True if output ``output`` of ``source`` is complex, or not known to be real."""
    metadata = getattr(source, "_input_metadata", None)
    return source is not None and (metadata is None or bool(metadata[output].dtype.is_complex))


def _short_name(node: Any) -> str | None:
    """Relu of ReluBackward0; None for a node that no generated code of autograd made.

    The number tells overloads of one operation apart. Names with a namespace belong to C++ extensions, which may
    call a node whatever they like, except for CopyBackwards.
    """
    if is_custom(node):
        return None
    name = str(node.name())
    if name == "torch::autograd::CopyBackwards":
        return "Copy"
    match = re.fullmatch(r"(\w+?)Backward\d*(_copy)?", name)
    return match[1] if match else None
