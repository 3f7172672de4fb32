"""Arithmetic over the fields of a trial, such as ``2 / optimizer.lr``. It is parsed and never executed as code."""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from orchestrator.study.sweep_file_error import nearest

_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: math.pow,
}
_UNARY: dict[type[ast.unaryop], Callable[[float], float]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}
_FUNCTIONS: dict[str, Callable[..., float]] = {"sqrt": math.sqrt, "log": math.log, "min": min, "max": max}
_LONGEST = 200
_ALLOWED = f"numbers, fields of the trial, + - * / **, parentheses and {', '.join(_FUNCTIONS)}"


class ExpressionError(ValueError):
    """An expression is invalid or has no value for a trial. The message says what was expected."""


@dataclass(frozen=True)
class Expression:
    """An arithmetic expression over fields of a trial, by dotted name."""

    text: str

    @cached_property
    def _tree(self) -> ast.expr:
        if len(self.text) > _LONGEST:
            raise ExpressionError(f"has {len(self.text)} characters, expected at most {_LONGEST}")
        try:
            tree = ast.parse(self.text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise ExpressionError(f"is not an expression; expected {_ALLOWED}, for example 2 / optimizer.lr") from None
        _check(tree)
        return tree

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of the trial that the expression uses, by dotted name.

        Raises:
            ExpressionError: the text is not an expression.
        """
        return tuple(dict.fromkeys(_fields(self._tree)))

    def value(self, fields: Mapping[str, Any]) -> float:
        """Returns the value for a trial.

        Args:
            fields: the fields of the trial by dotted name, as `TrialConfig.flat` returns them.

        Raises:
            ExpressionError: the text is not an expression, a field does not exist or is not a number, or the value is
                not a finite number.
        """
        try:
            found = _evaluate(self._tree, fields)
        except ExpressionError:
            raise
        except (ArithmeticError, ValueError, TypeError) as error:
            raise ExpressionError(f"has no value: {error}") from None
        if not math.isfinite(found):
            raise ExpressionError(f"is {found}, expected a finite number")
        return found


def _check(node: ast.expr) -> None:
    match node:
        case ast.Constant(value=int() | float()) if not isinstance(node.value, bool):
            return
        case ast.Name() | ast.Attribute():
            _dotted(node)
        case ast.BinOp(op=op, left=left, right=right) if type(op) in _BINARY:
            _check(left)
            _check(right)
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            _check(operand)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS and arguments:
            for argument in arguments:
                _check(argument)
        case _:
            raise ExpressionError(f"contains {ast.unparse(node)!r}; expected {_ALLOWED}")


def _evaluate(node: ast.expr, fields: Mapping[str, Any]) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.BinOp(op=op, left=left, right=right):
            return _BINARY[type(op)](_evaluate(left, fields), _evaluate(right, fields))
        case ast.UnaryOp(op=op, operand=operand):
            return _UNARY[type(op)](_evaluate(operand, fields))
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return float(_FUNCTIONS[name](*(_evaluate(argument, fields) for argument in arguments)))
    name = _dotted(node)
    if name not in fields:
        raise ExpressionError(f"uses {name}, which is not a field of these trials{nearest(name, fields)}")
    value = fields[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ExpressionError(f"uses {name}, which is {value!r} and not a number")
    return float(value)


def _fields(tree: ast.expr) -> list[str]:
    match tree:
        case ast.Name() | ast.Attribute():
            return [_dotted(tree)]
        case ast.BinOp(left=left, right=right):
            return _fields(left) + _fields(right)
        case ast.UnaryOp(operand=operand):
            return _fields(operand)
        case ast.Call(args=arguments):
            return [name for argument in arguments for name in _fields(argument)]
    return []


def _dotted(node: ast.expr) -> str:
    """Returns the dotted name of a field.

    Raises:
        ExpressionError: the node is not a name.
    """
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=name):
            return f"{_dotted(value)}.{name}"
    raise ExpressionError(f"contains {ast.unparse(node)!r}; expected {_ALLOWED}")
