"""The recorded relative sharpness is that of the estimator, and shares the exact trace."""

import pytest

from tests.training.measurement.measured import trained


def test_the_value_is_the_weighted_trace_of_the_dense_blocks() -> None:
    at = trained({"name": "sgd", "lr": 0.1})
    diagonal = at.hessian.diagonal()
    parts = diagonal.split([parameter.numel() for parameter in at.model.parameters()])
    expected = sum(
        float(parameter.detach().square().sum() * part.sum())
        for parameter, part in zip(at.model.parameters(), parts, strict=True)
    )
    for estimators in (["relative_sharpness"], ["relative_sharpness", "exact_trace"]):
        found = at.measure(*estimators).metrics()
        assert found["sharpness/relative"] == pytest.approx(expected, rel=1e-9)
        assert found["sharpness/relative_standard_error"] == 0.0
