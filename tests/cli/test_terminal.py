"""Log messages of the command-line interface."""

import io
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cli import main
from tests.cli.command import Command
from tests.tracking import stored


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    yield
    log = logging.getLogger("orchestrator")
    log.setLevel(logging.NOTSET)
    log.handlers = []


def shown(
    run: Command, capfd: pytest.CaptureFixture[str], *options: str, **environment: str
) -> tuple[list[str], list[str]]:
    """Returns the lines on standard output and on standard error after messages of three levels."""
    assert run(*options, "status", "quickstart", **environment).returncode == 0
    log = logging.getLogger("orchestrator.test")
    log.debug("a detail")
    log.info("news [of %d things]", 2)
    log.warning("a warning")
    out, err = capfd.readouterr()
    return out.splitlines(), err.splitlines()


def test_messages_go_to_standard_output_and_warnings_to_standard_error(
    run: Command, capfd: pytest.CaptureFixture[str]
) -> None:
    assert shown(run, capfd) == (["news [of 2 things]"], ["a warning"])
    assert shown(run, capfd, "--verbose") == (["a detail", "news [of 2 things]"], ["a warning"])
    assert shown(run, capfd, HESSIAN_DYNAMICS_LOG="debug") == (["a detail", "news [of 2 things]"], ["a warning"])
    assert shown(run, capfd, HESSIAN_DYNAMICS_LOG="WARNING") == ([], ["a warning"])


def test_characters_that_the_terminal_cannot_show_are_escaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored.trained(tmp_path / "results", stored.sweep(seeds=1, epochs=1))
    shown = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", shown)
    with pytest.raises(SystemExit) as ended:
        main(["export", "toy", "--storage", str(tmp_path / "results"), "--to", str(tmp_path / "größe")])
    assert not ended.value.code
    shown.seek(0)
    assert f"{tmp_path}/gr\\xf6\\xdfe/epochs.parquet\n" in shown.read()


def test_an_unknown_level_is_refused(run: Command) -> None:
    done = run("status", "quickstart", HESSIAN_DYNAMICS_LOG="loud")
    assert done.returncode == 2
    assert "HESSIAN_DYNAMICS_LOG='loud': expected one of DEBUG, INFO, WARNING, ERROR" in done.stderr
