"""Reads the deployment files."""

import json
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
LOCK = dict(line.split("==") for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line)


def compose(name: str = "compose.yaml") -> dict[str, Any]:
    return dict(yaml.safe_load((DOCKER / name).read_text()))


def manifests() -> list[dict[str, Any]]:
    return [
        each for file in sorted((DOCKER / "kubernetes").glob("*.yaml")) for each in yaml.safe_load_all(file.read_text())
    ]


def manifest(kind: str, name: str) -> dict[str, Any]:
    [found] = [each for each in manifests() if each["kind"] == kind and each["metadata"]["name"] == name]
    return found


def pods(value: Any) -> list[dict[str, Any]]:
    """The pod specs of a manifest."""
    if isinstance(value, list):
        return [pod for each in value for pod in pods(each)]
    if not isinstance(value, dict):
        return []
    own = [value] if "containers" in value else []
    return own + [pod for each in value.values() for pod in pods(each)]


def schema(name: str) -> dict[str, Any]:
    return dict(json.loads((Path(__file__).parent / f"schema_{name}.json").read_text()))
