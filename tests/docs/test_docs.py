"""The documentation matches the code: commands, options, links, examples, reference pages."""

import doctest
import importlib.util
import re
from pathlib import Path

import pytest
import yaml

from orchestrator.study.quantities.catalogue import BUILT_IN, DECLARED
from orchestrator.study.record import SCALARS
from orchestrator.study.sweep import load_sweep
from tests.commands import mentioned_commands, unknown_options

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
TEXT = "\n".join(page.read_text() for page in PAGES)


@pytest.mark.parametrize("command", sorted(mentioned_commands(TEXT)))
def test_every_command_and_option_of_the_pages_exists(command: str) -> None:
    assert not unknown_options(command, mentioned_commands(TEXT)[command])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_leads_to_a_file(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_every_page_is_in_the_navigation() -> None:
    listed = set(re.findall(r"([\w/-]+\.md)", (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2]))
    assert listed == {page.relative_to(ROOT / "docs").as_posix() for page in PAGES}


def test_the_examples_of_the_curvature_tutorial_run() -> None:
    result = doctest.testfile(str(ROOT / "docs/tutorials/curvature.md"), module_relative=False)
    assert result.attempted > 10
    assert result.failed == 0


def test_the_sweep_file_of_the_guide_is_valid(tmp_path: Path) -> None:
    content = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/how-to/sweep-files.md").read_text(), re.DOTALL)[0]
    (tmp_path / "learning_rate.yaml").write_text(content)
    assert len(load_sweep(str(tmp_path / "learning_rate.yaml")).trials) == 8


def test_the_network_of_the_guide_trains(tmp_path: Path) -> None:
    import torch

    guide = (ROOT / "docs/how-to/own-network.md").read_text()
    path = tmp_path / "my_nets.py"
    path.write_text(re.findall(r"```python\n(.*?)```", guide, re.DOTALL)[0])
    spec = importlib.util.spec_from_file_location("my_nets", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    settings = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)[0])["trial"]["model"]
    assert settings["name"] == "my_nets:Wide"
    assert module.Wide(shape=(1, 8, 8), classes=10, width=settings["width"])(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_the_reference_lists_every_quantity_and_command() -> None:
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs/hooks.py")
    assert spec and spec.loader
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    quantities = hooks.on_page_markdown((ROOT / "docs/reference/quantities.md").read_text())
    assert all(f"| `{quantity.key}` |" in quantities for quantity in (*SCALARS, *DECLARED))
    assert all(f"| `{name}` | {kind.__doc__} |" in quantities for name, kind in BUILT_IN.items())
    assert "| `every: 1-2-5`, `probes: 1`, `steps: 24`, `outliers: shared`, `error: null` |" in quantities
    commands = hooks.on_page_markdown((ROOT / "docs/reference/commands.md").read_text())
    for command in (
        "plan",
        "run",
        "trial",
        "measure",
        "status",
        "ship",
        "export",
        "report",
        "check",
        "doctor",
        "schema",
        "init",
    ):
        assert f"hessian-dynamics {command}" in commands


def test_the_optimizer_of_the_guide_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch import nn

    from orchestrator.training.optimizers.resume_check import check_optimizer
    from tests.training.trials import small_trial

    guide = (ROOT / "docs/how-to/own-optimizer.md").read_text()
    (tmp_path / "my_optim.py").write_text(re.findall(r"```python\n(.*?)```", guide, re.DOTALL)[0])
    monkeypatch.syspath_prepend(str(tmp_path))
    settings = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)[0])["trial"]["optimizer"]
    check_optimizer(small_trial(optimizer=settings), nn.Linear(3, 2).parameters())


def test_the_quantity_of_the_guide_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.training.measurement.measured import trained

    guide = (ROOT / "docs/how-to/own-quantity.md").read_text()
    (tmp_path / "my_quantities.py").write_text(re.findall(r"```python\n(.*?)```", guide, re.DOTALL)[0])
    monkeypatch.syspath_prepend(str(tmp_path))
    settings = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)[0])["trial"]["measurement"]
    record = trained({"name": "sgd", "lr": 0.1}).measure(*settings["estimators"], number=5)
    assert not record.failures
    # The guide's 128 samples are more than there are, so both gradients are those of all samples.
    assert record.scalars["alignment/cosine"] == pytest.approx(1.0)
