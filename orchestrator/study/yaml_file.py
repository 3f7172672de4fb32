"""A strict YAML loader that reads 1e-3 as a number and rejects duplicate keys, octal numbers and base 60."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

_NOT_DECIMAL = re.compile(r"[-+]?0[0-9_]+|.*:.*")
"""Numbers that YAML 1.1 reads as octal or base 60: ``010`` is 8, ``1:30`` is 90."""


class _Loader(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.MarkedYAMLError(None, None, f"key {key.value!r} is given twice", key.start_mark)
            seen.add(str(key.value))
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        number = isinstance(node, yaml.ScalarNode) and node.tag.endswith((":int", ":float"))
        if number and _NOT_DECIMAL.fullmatch(node.value):
            problem = f"{node.value!r} is octal or base 60 in YAML; write a decimal number, or quote it if it is text"
            raise yaml.MarkedYAMLError(None, None, problem, node.start_mark)
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError):  # such as a 13th month or `!!bool maybe`
            shown = repr(node.value)[:40]
            problem = f"{shown} cannot be read as {node.tag.rpartition(':')[2]}; quote it if it is text"
            raise yaml.MarkedYAMLError(None, None, problem, node.start_mark) from None


# PyYAML reads 1e-3 as a string because it has no dot, and .5e3 because its exponent has no sign.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?([0-9]+\.?|[0-9]*\.[0-9]+)[eE][-+]?[0-9]+$"), list("-+.0123456789")
)


def read_yaml(path: Path) -> Any:
    """Returns the content of a YAML file.

    Raises:
        ValueError: the file cannot be read, is not YAML or has a duplicate key. The message gives the position.
    """
    try:
        return _load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply for a sweep file") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file: {error}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise ValueError(f"{where}: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: {error}") from None


def parse_value(text: str) -> Any:
    """Parses a value of ``--set`` like a value in a sweep file. Returns the text itself if it is not YAML."""
    try:
        return _load(text)
    except (yaml.YAMLError, RecursionError):
        return text


def value_text(value: Any) -> str:
    """Returns the text that `parse_value` parses into a value. Other types than those of JSON become text."""
    if isinstance(value, str) and parse_value(value) == value:
        return value
    return json.dumps(value, separators=(",", ": "), default=str)


def _load(text: str) -> Any:
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()
