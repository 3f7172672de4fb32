"""The largest eigenvalues and the gradient's share against the dense Hessian."""

import pytest
import torch

from tests.training.measurement.measured import trained

EXACT = {"name": "top_eigenvalues", "k": 4, "tolerance": 1e-8}


def test_eigenvalues_and_share_agree_with_the_dense_hessian() -> None:
    at = trained({"name": "sgd", "lr": 0.1})
    found = at.measure(EXACT).metrics()
    eigenvalues, vectors = torch.linalg.eigh(at.hessian)
    for number in range(1, 5):
        expected = float(eigenvalues[-number])
        assert found[f"hessian/lambda_{number}"] == pytest.approx(expected, rel=1e-8)
        assert abs(found[f"hessian/lambda_{number}"] - expected) <= found[f"hessian/lambda_{number}_error"]
        assert found[f"hessian/lambda_{number}_residual"] < 1e-3
    assert "hessian/lambda_5" not in found
    gradient = at.gradient
    share = float((vectors[:, -4:].T @ gradient).square().sum() / gradient.square().sum())
    assert abs(found["hessian/gradient_share"] - share) <= found["hessian/gradient_share_error"] < 0.01


def test_a_rough_share_is_within_its_error() -> None:
    at = trained({"name": "sgd", "lr": 0.1})
    _, vectors = torch.linalg.eigh(at.hessian)
    share = float((vectors[:, -2:].T @ at.gradient).square().sum() / at.gradient.square().sum())
    found = at.measure({"name": "top_eigenvalues", "k": 2, "tolerance": 0.1}).metrics()
    assert abs(found["hessian/gradient_share"] - share) <= found.get("hessian/gradient_share_error", 1.0)


def test_the_largest_one_is_the_best_estimate_of_lambda_max() -> None:
    at = trained({"name": "sgd", "lr": 0.1})
    found = at.measure("lanczos", EXACT, "stability").metrics()
    assert found["hessian/lambda_max"] == found["hessian/lambda_1"] == found["stability/sharpness"]
    assert found["hessian/lambda_max_residual"] == found["hessian/lambda_1_residual"]
    assert "hessian/lambda_min" in found


def test_products_of_lanczos_are_shared() -> None:
    at = trained({"name": "sgd", "lr": 0.1})
    alone, both = at.measure("lanczos").hessian_products, at.measure("lanczos", EXACT).hessian_products
    separate = at.measure(EXACT).hessian_products
    assert alone is not None
    assert both is not None
    assert separate is not None
    assert both < alone + separate


def test_a_network_with_few_parameters_has_fewer_eigenvalues() -> None:
    at = trained({"name": "sgd", "lr": 0.1})
    found = at.measure({"name": "top_eigenvalues", "k": 1000, "products": 200}).metrics()
    assert {"hessian/lambda_67", "hessian/lambda_67_residual"} <= found.keys()
    assert "hessian/lambda_68" not in found
