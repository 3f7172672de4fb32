"""Expressions against Python's arithmetic, and refused text."""

import math

import pytest

from orchestrator.study.expectations.expression import Expression, ExpressionError

FIELDS = {
    "optimizer.lr": 0.05,
    "optimizer.beta1": 0.9,
    "batch_size": 64,
    "model.name": "cnn",
    "optimizer.nesterov": True,
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2 / optimizer.lr", 40.0),
        ("(2 + 2 * optimizer.beta1) / ((1 - optimizer.beta1) * optimizer.lr)", 3.8 / (0.1 * 0.05)),
        ("-batch_size + 3 - 2", -63.0),
        ("2 ** 3 ** 2", 512.0),
        ("sqrt(batch_size) * min(2, 3) - max(1, optimizer.lr)", 15.0),
        ("log(10)", math.log(10)),
        ("1e-3", 0.001),
    ],
)
def test_has_the_value_of_its_arithmetic(text: str, value: float) -> None:
    assert Expression(text).value(FIELDS) == pytest.approx(value, rel=1e-12)


def test_lists_its_fields_once() -> None:
    assert Expression("optimizer.lr * batch_size / (optimizer.lr + -batch_size)").fields == (
        "optimizer.lr",
        "batch_size",
    )
    assert Expression("sqrt(2)").fields == ()


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "open('x')",
        "(lambda: 1)()",
        "[1, 2]",
        "'text'",
        "True",
        "1 if 2 else 3",
        "optimizer['lr']",
        "f(1).x",
        "sqrt()",
        "sqrt(x=1)",
        "2 @ 3",
        "7 % 4",
        "1 < 2",
        "2 /",
        "",
        "x = 1",
    ],
)
def test_refuses_everything_else(text: str) -> None:
    with pytest.raises(ExpressionError, match=r"expected numbers, fields of the trial"):
        _ = Expression(text).fields


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "2 / optimizer.beta",
            "uses optimizer.beta, which is not a field of these trials; did you mean 'optimizer.beta1'? valid here: "
            "batch_size, model.name, optimizer.beta1, optimizer.lr, optimizer.nesterov",
        ),
        ("2 * model.name", "uses model.name, which is 'cnn' and not a number"),
        ("2 * optimizer.nesterov", "uses optimizer.nesterov, which is True and not a number"),
        ("1 / (batch_size - 64)", "has no value: float division by zero"),
        ("9 ** 9 ** 9", "has no value: math range error"),
        ("sqrt(-1)", "has no value: math domain error"),
        ("1e308 * 10", "is inf, expected a finite number"),
        ("1" * 201, "has 201 characters, expected at most 200"),
    ],
)
def test_explains_why_it_has_no_value(text: str, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        Expression(text).value(FIELDS)
    assert str(caught.value) == message


def test_refuses_deep_nesting_without_a_crash() -> None:
    with pytest.raises(ExpressionError):
        _ = Expression("(" * 199).fields
