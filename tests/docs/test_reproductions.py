"""The pages of reproduced results match their stored results and the expectations of today's sweep files."""

import importlib.util
import json
from pathlib import Path

import pytest

from orchestrator.study.sweep import load_sweep

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs/reproductions"
RESULTS = sorted(PAGES.glob("*.json"))


def _collect() -> object:
    spec = importlib.util.spec_from_file_location("collect", ROOT / "docs/collect.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda page: page.stem)
def test_tables_are_those_of_the_stored_results(page: Path) -> None:
    text = page.read_text()
    assert _collect().filled(text) == text  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_results_judge_the_expectations_of_the_sweep_file(path: Path) -> None:
    results = json.loads(path.read_text())
    sweep = load_sweep(str(ROOT / "sweeps" / f"{results['sweep']}.yaml"))
    stored = [(row["expected"], row["claim"], row["source"]) for row in results["rows"] if row["expected"]]
    assert stored == [(str(each), each.claim, each.source) for each in sweep.expect]
    assert results["facts"]["trials"] == f"{len(sweep.trials)}: {len(sweep.trials)} completed"


def test_every_result_is_on_a_page() -> None:
    assert len(RESULTS) >= 9
    text = "".join(page.read_text() for page in PAGES.glob("*.md"))
    for path in RESULTS:
        assert f": {path.stem} -->" in text
