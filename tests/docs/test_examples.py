"""The examples in docs/examples run."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parents[2] / "docs/examples"


@pytest.mark.slow
def test_the_script_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / "learning_rates.py"], cwd=tmp_path, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert "learning_rates: 4 of 4 trials done" in done.stdout
    assert done.stdout.rstrip().endswith("1 reproduced")


@pytest.mark.slow
def test_the_notebook_runs_and_shows_its_results(tmp_path: Path) -> None:
    notebook = nbformat.read(EXAMPLES / "notebook.ipynb", 4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "the notebook is stored without outputs"
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [_text(output) for cell in notebook.cells for output in cell.get("outputs", ())]
    text = "\n".join(shown)
    assert "sweep learning_rates: 4 trials" in text
    assert any(line.startswith("4 trials: ") and " of 244 records" in line for line in shown), "progress is shown"
    assert "learning_rates: 4 of 4 trials done" in text
    assert "1 reproduced" in text
    assert "\x1b[" not in text
    assert "rich/live.py" not in text
    assert (tmp_path / "results/sweeps/learning_rates/report/report.html").exists()


def _text(output: nbformat.NotebookNode) -> str:
    return str(output.get("text") or output.get("data", {}).get("text/plain", ""))
