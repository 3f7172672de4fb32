"""Curvature of every family of networks against dense float64 matrices, and whether its trace is exact."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import grad
from torch.nn.functional import cross_entropy

from estimators import HessianOperator, dense_hessian, exact_trace, hessian_trace, linearity
from estimators.operators.random_vectors import random_vector
from orchestrator.training.models.networks import cnn
from orchestrator.training.models.signature import Signature
from tests.estimators.cases import Case, seeded
from tests.estimators.reference import Reference, reference
from tests.training.models.built import built

FEATURES, IMAGES = Signature((3,), 3), Signature((2, 4, 4), 3)
TOKENS = Signature((4,), outputs=3, vocabulary=5)
SEQUENCES = replace(TOKENS, per_sequence=True)


def token_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy over all positions of outputs [n, positions, classes]."""
    return cross_entropy(outputs.mT, targets)


def data(signature: Signature) -> tuple[Tensor, Tensor]:
    """Returns five samples."""
    inputs_shape, outputs = (5, *signature.input_shape), signature.outputs
    if signature.vocabulary is None:
        inputs = torch.randn(inputs_shape, dtype=torch.float64, generator=seeded(1))
        return inputs, torch.randint(outputs, (5,), generator=seeded(2))
    tokens = torch.randint(signature.vocabulary, inputs_shape, generator=seeded(1))
    return tokens, torch.randint(outputs, (5, *signature.output_shape[:-1]), generator=seeded(2))


def network(signature: Signature, name: str, **settings: Any) -> Case:
    """Returns a network in eval mode, with running statistics of the samples."""

    def build() -> nn.Module:
        model = built(signature, name, **settings).double()
        with torch.no_grad():
            model(data(signature)[0])
        return model.eval()

    loss = token_loss if len(signature.output_shape) > 1 else cross_entropy
    per = " per sequence" if signature.per_sequence else ""
    return Case(f"{name} {settings}{per}", build, loss, lambda: data(signature), chunk_size=2)


def narrow_cnn(**settings: Any) -> Case:
    """Returns a `cnn` with 2 channels and 3 hidden units, whose dense Hessian fits into memory."""
    case = network(IMAGES, "cnn", **settings)

    def build() -> nn.Module:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cnn, "CHANNELS", 2)
            patch.setattr(cnn, "HIDDEN", 3)
            return case.build()

    return replace(case, build=build)


LINEAR = [
    narrow_cnn(),
    narrow_cnn(batch_norm=True, activation="leaky_relu"),
    network(FEATURES, "mlp", hidden=[4, 3]),
    network(FEATURES, "mlp", hidden=[4, 3], batch_norm=True, init_scale=2.0),
    network(FEATURES, "mlp", hidden=[4, 3], activation="leaky_relu"),
    network(IMAGES, "resnet", depth=8, width=1),
]
CURVED = [
    narrow_cnn(activation="gelu"),
    *(network(FEATURES, "mlp", hidden=[4, 3], activation=name) for name in ("gelu", "silu", "tanh", "softplus")),
    network(IMAGES, "resnet", depth=8, width=1, norm="group"),
    network(IMAGES, "vit", patch=2, width=4, depth=1, heads=2),
    network(TOKENS, "transformer", width=4, depth=1, heads=2),
    network(Signature((4,), 5, 5), "transformer", width=4, depth=1, heads=2, tied=True),
    network(TOKENS, "lstm", width=3, depth=2),
    network(TOKENS, "gru", width=3, depth=2),
    network(SEQUENCES, "transformer", width=4, depth=1, heads=2),
    network(SEQUENCES, "lstm", width=3, depth=1),
    network(SEQUENCES, "gru", width=3, depth=1),
]


def each(cases: list[Case]) -> pytest.MarkDecorator:
    """Parametrises a test by cases."""
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


@each(LINEAR + CURVED)
def test_products_and_the_dense_hessian(case: Case) -> None:
    expected = reference(case).hessian
    found = dense_hessian(case.model(), case.loss_fn, case.batches())
    assert_close(found, expected)
    op = HessianOperator(case.model(), case.loss_fn, case.batches(), chunk_size=case.chunk_size)
    vectors = torch.randn(op.size, 2, dtype=torch.float64, generator=seeded(3))
    assert_close(op @ vectors, expected @ vectors)


def test_products_of_torchvision_networks_with_in_place_operations() -> None:
    signature = Signature((3, 32, 32), 3)
    model = built(signature, "torchvision", architecture="squeezenet1_1").double().eval()
    batches = inputs, targets = data(signature)
    op = HessianOperator(model, cross_entropy, batches, chunk_size=2)
    vector = torch.randn(op.size, dtype=torch.float64, generator=seeded(3))
    parameters = list(model.parameters())
    gradient = grad(cross_entropy(model(inputs), targets), parameters, create_graph=True)
    slope = torch.cat([part.flatten() for part in gradient]) @ vector
    expected = torch.cat([part.flatten() for part in grad(slope, parameters)])
    assert_close(op @ vector, expected)
    assert linearity(model, inputs).exact


@each(LINEAR)
def test_traces_of_piecewise_linear_networks_are_exact(case: Case) -> None:
    dense, inputs = reference(case), data_of(case)
    assert linearity(case.model(), inputs).exact
    torch.testing.assert_close(dense.hessian.diagonal(), dense.gauss_newton.diagonal(), rtol=1e-9, atol=1e-11)
    found = hessian_trace(HessianOperator(case.model(), case.loss_fn, case.batches(), chunk_size=case.chunk_size))
    assert found.exact
    assert found.value == pytest.approx(float(dense.hessian.trace()), rel=1e-9)


@each(CURVED)
def test_traces_of_other_networks(case: Case) -> None:
    dense, inputs = reference(case), data_of(case)
    assert not linearity(case.model(), inputs).exact
    # Otherwise the verdict would be too cautious.
    difference = dense.hessian.diagonal() - dense.gauss_newton.diagonal()
    assert float(difference.abs().max()) > 1e-6
    gauss_newton = exact_trace(case.model(), case.loss_fn, case.batches(), case.chunk_size)
    assert gauss_newton.value == pytest.approx(float(dense.gauss_newton.trace()), rel=1e-9)
    op = HessianOperator(case.model(), case.loss_fn, case.batches(), chunk_size=case.chunk_size)
    found = hessian_trace(op, 2, generator=seeded(5))
    assert not found.exact
    assert found.value == pytest.approx(float(dense.gauss_newton.trace() + probed(dense, op, 2)), rel=1e-9)


def data_of(case: Case) -> Tensor:
    batches = case.batches()
    assert isinstance(batches, tuple)
    return batches[0]


def probed(dense: Reference, op: HessianOperator, probes: int) -> Tensor:
    """Returns the mean of v'(H - GGN)v over the probes that a generator with seed 5 draws."""
    generator = seeded(5)
    vectors = [random_vector(op, generator, "rademacher") for _ in range(probes)]
    return torch.stack([v @ (dense.hessian - dense.gauss_newton) @ v for v in vectors]).mean()


def assert_close(found: Tensor, expected: Tensor) -> None:
    assert float((found.detach() - expected).norm()) <= 1e-9 * max(1.0, float(expected.norm()))
