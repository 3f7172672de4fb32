"""Declarations of single quantities and of families."""

from orchestrator.study.quantities.quantity import Quantity

FAMILY = Quantity(
    "layers/{layer}/lambda_max", "loss", r"$\lambda_{\max}$ of {layer}", "of {layer}", "layers/{layer}/residual"
)


def test_a_member_of_a_family_has_its_name_in_every_text() -> None:
    member = FAMILY.member("layers_conv1.weight_lambda_max")
    assert member is not None
    assert member.key == "layers/conv1.weight/lambda_max"
    assert member.label == r"$\lambda_{\max}$ of conv1.weight"
    assert member.meaning == "of conv1.weight"
    assert member.error == "layers/conv1.weight/residual"


def test_other_columns_are_no_members() -> None:
    assert FAMILY.member("layers_conv1.weight_trace") is None
    assert FAMILY.member("hessian_lambda_max") is None


def test_a_single_quantity_is_its_own_member() -> None:
    single = Quantity("gradient/curvature", "loss", "label", "meaning")
    assert single.member("gradient_curvature") == single
    assert single.reproducible
    assert not Quantity("time/measure_seconds", "s", "label", "meaning").reproducible
