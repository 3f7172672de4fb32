"""How each operation of the autograd graph depends on its differentiable inputs: linearly, as a product, or curved.

Inputs are numbered as in the ``next_functions`` of a node, which is the order in torch's ``derivatives.yaml``. An
operation that is not listed is unknown and counts as curved.
"""

import re
from dataclasses import dataclass, replace
from typing import Any

import torch

# Jointly linear in all inputs. Masks and indices are not differentiable and count as constants.
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

# Jointly piecewise linear in all inputs if they are real. Complex inputs are excluded because |z| is curved.
_PIECEWISE_LINEAR = """
    Relu LeakyRelu Threshold Hardtanh Hardsigmoid Hardshrink Softshrink Abs Clamp ClampMin ClampMax Maximum Minimum
    Fmax Fmin Max Min Amax Amin Aminmax Median Nanmedian Kthvalue Mode Sort Topk Cummax Cummin NanToNum
    MaxPool2DWithIndices MaxPool3DWithIndices AdaptiveMaxPool2D AdaptiveMaxPool3D
"""

# The derivative is zero wherever it exists.
_PIECEWISE_CONSTANT = "Round Floor Ceil Trunc Sign"


@dataclass(frozen=True)
class AutogradRule:
    """Exceptions to the default, an operation that is jointly piecewise linear in all its inputs."""

    products: tuple[tuple[int, int], ...] = ()
    """Pairs of inputs that are multiplied with each other."""
    curved: tuple[int, ...] = ()
    """Inputs in which the operation is not piecewise linear."""
    setting: str | None = None
    """The attribute of the operation that decides whether the rule holds."""
    allowed: tuple[object, ...] = ()
    """Values of ``setting`` for which the rule holds."""
    real: bool = False
    """Whether the rule requires real inputs."""
    constant: bool = False
    """Whether the result is piecewise constant."""


def _all(names: str, rule: AutogradRule) -> dict[str, AutogradRule]:
    return dict.fromkeys(names.split(), rule)


_RULES = {
    **_all(_LINEAR, AutogradRule()),
    **_all(_PIECEWISE_LINEAR, AutogradRule(real=True)),
    **_all(_PIECEWISE_CONSTANT, AutogradRule(real=True, constant=True)),
    **_all("Mul Mm Bmm Mv Dot Vdot Linear Convolution EmbeddingBag LinalgCross", AutogradRule(products=((0, 1),))),
    **_all("Addmm Addmv Addbmm Baddbmm Addr Addcmul", AutogradRule(products=((1, 2),))),
    **_all(
        "NativeBatchNorm CudnnBatchNorm MiopenBatchNorm", AutogradRule(((0, 1),), setting="training", allowed=(False,))
    ),
    **_all("NativeLayerNorm NativeGroupNorm WeightNormInterface", AutogradRule(curved=(0,))),
    **_all("Div GridSampler2D GridSampler3D", AutogradRule(curved=(1,))),
    "Addcdiv": AutogradRule(curved=(2,)),
    "Lerp": AutogradRule(products=((0, 2), (1, 2))),
    "Trilinear": AutogradRule(products=((0, 1), (0, 2), (1, 2))),
    "PreluKernel": AutogradRule(products=((0, 1),), real=True),
    "RreluWithNoise": AutogradRule(setting="training", allowed=(False,)),
    "Pow": AutogradRule(setting="exponent", allowed=(0, 1)),
    "ScatterReduce": AutogradRule(setting="reduce", allowed=("sum", "mean", "amax", "amin"), real=True),
}

# Settings of other types have no rule: a tensor would be compared entry by entry.
_PLAIN = (bool, int, float, str)


def rule_of(node: Any) -> AutogradRule | None:
    """The rule for a node of the autograd graph. None if the operation or its setting has no rule."""
    rule = _listed_rule(node)
    if rule is None or (rule.real and _has_complex_input(node)):
        return None
    if rule.setting is not None:
        value = _setting(node, rule)
        if not isinstance(value, _PLAIN) or value not in rule.allowed:
            return None
    # An in-place write to a view leaves the rest of the tensor unchanged, and the rest need not be constant.
    return replace(rule, constant=False) if _in_place_node(node) is not node else rule


def operation_name(node: Any) -> str:
    """The name of the operation in torch.ops.aten, such as "max_pool2d_with_indices"."""
    node = _in_place_node(node)
    short = _short_name(node)
    if short is None:
        return str(node.name())
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=\dD)(?=[A-Z])", "_", short).lower()


def describe(node: Any) -> str:
    """The operation with the setting that its rule depends on, such as "native_batch_norm with training=True"."""
    name, rule = operation_name(node), _listed_rule(node)
    if is_custom(_in_place_node(node)):
        return f"the custom autograd.Function behind {name}"
    if rule is not None and rule.setting is not None and isinstance(value := _setting(node, rule), _PLAIN):
        return f"{name} with {rule.setting}={value}"
    if rule is not None and rule.real and _has_complex_input(node):
        return f"{name} of complex numbers"
    return name


def is_leaf(node: Any) -> bool:
    """Whether the node accumulates the gradient of a leaf tensor, which is its ``variable``."""
    return str(node.name()) == "torch::autograd::AccumulateGrad"


def is_custom(node: Any) -> bool:
    """Whether a Python torch.autograd.Function made this node. Its backward pass is unknown."""
    return isinstance(node, torch._C._FunctionBase)


def _in_place_node(node: Any) -> Any:
    """The node of the in-place operation if ``node`` wrote through a view, else ``node``.

    The in-place node has the inputs of ``node``, but with the whole tensor instead of the view. Older versions of torch
    do not expose it, so the operation is unknown.
    """
    return getattr(node, "_wrapped_node", None) or node


def _listed_rule(node: Any) -> AutogradRule | None:
    return _RULES.get(_short_name(_in_place_node(node)) or "")


def _setting(node: Any, rule: AutogradRule) -> object:
    return getattr(_in_place_node(node), f"_saved_{rule.setting}", None)


def _has_complex_input(node: Any) -> bool:
    """Whether any input is complex, or not known to be real."""
    for source, output in node.next_functions:
        metadata = getattr(source, "_input_metadata", None)
        if source is not None and (metadata is None or metadata[output].dtype.is_complex):
            return True
    return False


def _short_name(node: Any) -> str | None:
    """Short name of the operation, such as Relu for ReluBackward0. None for nodes outside autograd's generated code.

    The number distinguishes overloads. Names with a namespace, except CopyBackwards, belong to C++ extensions, whose
    node names are arbitrary.
    """
    if is_custom(node):
        return None
    name = str(node.name())
    if name == "torch::autograd::CopyBackwards":
        return "Copy"
    match = re.fullmatch(r"(\w+?)Backward\d*(_copy)?", name)
    return match[1] if match else None
