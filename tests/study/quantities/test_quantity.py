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


def test_a_placeholder_for_a_number_matches_no_name() -> None:
    numbered = Quantity("hessian/lambda_{i}", "loss", r"$\lambda_{{i}}$", "eigenvalue number {i}")
    member = numbered.member("hessian_lambda_12")
    assert member is not None
    assert (member.key, member.label) == ("hessian/lambda_12", r"$\lambda_{12}$")
    assert numbered.member("hessian_lambda_max") is None
    assert numbered.member("hessian_lambda_1_residual") is None
