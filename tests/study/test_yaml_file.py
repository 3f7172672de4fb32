"""Strict parsing of YAML, and errors with their position."""

import re
from pathlib import Path

import pytest

from orchestrator.study.sweep import load_sweep
from orchestrator.study.yaml_file import parse_value
from tests.study.sweep_files import (
    BASE,
    Write,
    optimizer,
)


def test_exponents_without_a_dot_or_sign_are_numbers(write: Write) -> None:
    sweep = load_sweep(write(BASE.replace("0.05", "1e-3") + "grid: {optimizer.weight_decay: [5e-4, 1, .5e-1]}\n"))
    assert [optimizer(t).weight_decay for t in sweep.trials] == [5e-4, 1.0, 0.05]
    assert {optimizer(t).lr for t in sweep.trials} == {1e-3}


INVALID: dict[str, tuple[str | bytes, str]] = {
    "key twice": (BASE + "grid: {seed: [1], seed: [2]}", "x.yaml:6:19: key 'seed' is given twice"),
    "top key twice": (BASE + "name: y", "x.yaml:6:1: key 'name' is given twice"),
    "bracket": ("a: [1", "x.yaml:1:6: expected ',' or ']', but got '<stream end>'"),
    "tab": ("a:\n\tb: 1", "x.yaml:2:1: found character '\\t' that cannot start any token"),
    "two documents": (BASE + "---\na: 1", "x.yaml:6:1: but found another document"),
    "unhashable key": (BASE + "grid: {? [a, b] : [2]}", "x.yaml:6:10: found unhashable key"),
    "octal": (
        BASE + "  seed: 010",
        "x.yaml:6:9: '010' is octal or base 60 in YAML; write a decimal number, or quote it if it is text",
    ),
    "base 60": (
        BASE + "  seed: 1:30",
        "x.yaml:6:9: '1:30' is octal or base 60 in YAML; write a decimal number, or quote it if it is text",
    ),
    "13th month": (
        BASE + "  seed: 2024-13-01",
        "x.yaml:6:9: '2024-13-01' cannot be read as timestamp; quote it if it is text",
    ),
    "thousands of digits": (
        BASE + "  seed: 1" + "0" * 5000,
        f"x.yaml:6:9: '1{'0' * 38} cannot be read as int; quote it if it is text",
    ),
    "not a boolean": (
        BASE + "  seed: !!bool maybe",
        "x.yaml:6:9: 'maybe' cannot be read as bool; quote it if it is text",
    ),
    "not a timestamp": (
        BASE + "  seed: !!timestamp soon",
        "x.yaml:6:9: 'soon' cannot be read as timestamp; quote it if it is text",
    ),
    "not an integer": (BASE + "  seed: !!int ''", "x.yaml:6:9: '' cannot be read as int; quote it if it is text"),
    "mapping as number": (BASE + "  seed: !!float {a: b}", "x.yaml:6:9: expected a scalar node, but found mapping"),
    "code": (
        BASE + "  seed: !!python/object/apply:os.getcwd []",
        "x.yaml:6:9: could not determine a constructor for the tag 'tag:yaml.org,2002:python/object/apply:os.getcwd'",
    ),
    "too deep": (BASE + "  seed: " + "[" * 600 + "]" * 600, "x.yaml is nested too deeply for a sweep file"),
    "not text": (b"name: \xff\xfe", "x.yaml is not a text file: 'utf-8' codec can't decode byte 0xff in position 6"),
    "zero byte": ("name: x\0", "x.yaml: unacceptable character #x0000"),
}


@pytest.mark.parametrize(("content", "message"), INVALID.values(), ids=INVALID)
def test_invalid_yaml_is_reported_with_its_position(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path}/{message}")):
        load_sweep(str(path))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        ("-1e3", -1e3),
        (".5e3", 500.0),
        ("1.e2", 100.0),
        ("0.05", 0.05),
        ("1e", "1e"),
        ("e3", "e3"),
        ("10", 10),
        ("[1e-3, 2]", [1e-3, 2]),
        ("cnn", "cnn"),
        ("[1", "[1"),
        ("", None),
    ],
)
def test_an_override_is_read_like_a_value_of_a_file(text: str, value: object) -> None:
    read = parse_value(text)
    assert (read, type(read)) == (value, type(value))
