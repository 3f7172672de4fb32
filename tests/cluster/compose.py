"""Implements the Compose features that docker/compose.yaml uses: interpolation, secrets, health checks, start order."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Health:
    test: list[str]
    timeout: float
    patience: float
    """The longest time until a service is healthy."""


@dataclass(frozen=True)
class Service:
    name: str
    image: str
    user: str
    command: list[str]
    environment: dict[str, str]
    secrets: tuple[str, ...]
    networks: tuple[str, ...]
    volumes: dict[str, str]
    """Named volumes by mount point."""
    replicas: int
    restart: str
    stop_signal: str
    grace: float
    depends_on: dict[str, str]
    health: Health | None


def load(files: Sequence[Path], variables: Mapping[str, str]) -> dict[str, Service]:
    """The services of compose files; later files override earlier ones."""
    services = merge(files)["services"]
    return {name: _service(name, _filled(entry, variables)) for name, entry in services.items()}


def merge(files: Sequence[Path]) -> dict[str, Any]:
    """The merged content of compose files, before interpolation."""
    content: dict[str, Any] = {}
    for file in files:
        content = _merged(content, yaml.safe_load(file.read_text()))
    return content


def _merged(first: Any, second: Any, key: str = "") -> Any:
    """Merges as Compose does: mappings recursively, lists by concatenation, commands by replacement."""
    if isinstance(first, dict) and isinstance(second, dict):
        return first | {name: _merged(first.get(name), value, name) for name, value in second.items()}
    if isinstance(first, list) and isinstance(second, list) and key not in ("command", "entrypoint"):
        return list(dict.fromkeys([*first, *second]))
    return second


def interpolated(text: str, variables: Mapping[str, str]) -> str:
    """Replaces ``${NAME}``, ``${NAME:-default}``, ``${NAME-default}`` and ``${NAME:?message}`` in a text."""

    def fill(found: re.Match[str]) -> str:
        name, kind, rest = found[1], found[2], found[3] or ""
        if variables.get(name) or (kind == "-" and name in variables):
            return variables[name]
        if kind in (":-", "-"):
            return rest
        raise ValueError(f"${{{name}}} is not set: {rest or 'it has no default'}")

    return re.sub(r"\$\{(\w+)(?:(:-|-|:\?)([^}]*))?\}", fill, text)


def seconds(text: str) -> float:
    """Returns a duration such as ``1m30s`` in seconds."""
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([\d.]+)([smh])", text))


def _filled(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return interpolated(value, variables)
    if isinstance(value, list):
        return [_filled(item, variables) for item in value]
    if isinstance(value, dict):
        return {key: _filled(item, variables) for key, item in value.items()}
    return value


def _service(name: str, entry: dict[str, Any]) -> Service:
    check = entry.get("healthcheck")
    volumes = [text.split(":") for text in entry.get("volumes", [])]
    return Service(
        name=name,
        image=entry["image"],
        user=entry["user"],
        command=[str(word) for word in entry.get("command", [])],
        environment={key: str(value) for key, value in entry.get("environment", {}).items()},
        secrets=tuple(entry.get("secrets", ())),
        networks=tuple(entry["networks"]),
        volumes={parts[1]: parts[0] for parts in volumes if not parts[0].startswith(".")},
        replicas=int(entry.get("deploy", {}).get("replicas", 1)),
        restart=str(entry.get("restart", "no")),
        stop_signal=entry.get("stop_signal", "SIGTERM"),
        grace=seconds(entry.get("stop_grace_period", "10s")),
        depends_on={key: value["condition"] for key, value in entry.get("depends_on", {}).items()},
        health=Health(
            test=[str(word) for word in check["test"][1:]],
            timeout=seconds(check["timeout"]),
            patience=seconds(check["start_period"]) + check["retries"] * seconds(check["interval"]),
        )
        if check and not check.get("disable")
        else None,
    )
