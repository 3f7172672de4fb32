"""Stores the results of a sweep under docs/reproductions, and fills the tables of its pages from stored results.

    python docs/collect.py edge_of_stability --storage results --figure stability_ratio
    python docs/collect.py paper_digits --storage results --conjectures --figure figure1 --figure figure5
    python docs/collect.py                                       # only fills the tables again

A page contains the table of a sweep between ``<!-- results: SWEEP -->`` and ``<!-- end -->``, and the verdicts on the
paper's conjectures between ``<!-- conjectures: SWEEP -->`` and ``<!-- end -->``.
"""

import argparse
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orchestrator.analysis.expectations import judge_expectations
from orchestrator.analysis.expectations.describe import rows
from orchestrator.analysis.expectations.judgement import summary
from orchestrator.analysis.report import write_report
from orchestrator.analysis.sweep_summary import summarise
from orchestrator.store.frames import Frames, read_frames
from orchestrator.store.storage import Storage
from orchestrator.study.sweep import load_sweep

PAGES = Path(__file__).parent / "reproductions"
_FACTS = ("trials", "trial hours", "hardware", "commit")


def collect(sweep: str, name: str, storage: str, figures: Sequence[str], conjectures: bool = False) -> None:
    """Stores the judgements of a sweep as JSON, and figures of its report.

    Args:
        sweep: the name of a file in ``sweeps/``, which contains the expectations.
        name: the name of the sweep in the storage, which ``--set`` changes.
        storage: the folder of the results.
        figures: the names of the figures.
        conjectures: whether to store the verdicts on the paper's conjectures.
    """
    store = Storage(storage)
    frames = read_frames(store, name)
    folder = store.sweep(name).folder / "report"
    report = write_report(frames, folder, expectations=load_sweep(sweep).expect)
    for figure in figures:
        shutil.copy(folder / f"{figure}.svg", PAGES / f"{sweep}-{figure}.svg")
    results = _results(sweep, frames)
    if conjectures:
        results["verdicts"] = [[each.conjecture, each.outcome.value, each.sentence] for each in report.verdicts]
    (PAGES / f"{sweep}.json").write_text(json.dumps(results, indent=1) + "\n")


def _results(sweep: str, frames: Frames) -> dict[str, Any]:
    judgements = judge_expectations(frames, load_sweep(sweep).expect)
    facts = dict(summarise(frames).facts)
    return {
        "sweep": sweep,
        "facts": {**{key: facts[key] for key in _FACTS}, "hardware": facts["hardware"].partition("; host")[0]},
        "summary": summary(judgements),
        "rows": [asdict(row) for row in rows(judgements)],
    }


def table(results: dict[str, Any]) -> str:
    """Returns the Markdown table of stored results, and a line with its source."""
    lines = ["| expected | accepted | measured | outcome |", "|---|---|---|---|"]
    for row in results["rows"]:
        expected = ": ".join(filter(None, (row["expected"], row["group"])))
        outcome = f"**{row['outcome']}**" + (f". {row['sentence']}" if row["sentence"] else "")
        lines.append(f"| {expected} | {row['accepted']} | {row['measured']} | {outcome} |")
    return "\n".join([*lines, "", f"*{results['summary']}. {_source(results['facts'])}*"])


def conjectures_table(results: dict[str, Any]) -> str:
    """Returns the Markdown table of the verdicts, and a line with their source."""
    lines = ["| conjecture | verdict | reason |", "|---|---|---|"]
    lines += [f"| {number} | **{outcome}** | {sentence} |" for number, outcome, sentence in results["verdicts"]]
    return "\n".join([*lines, "", f"*{_source(results['facts'])}*"])


def _source(facts: dict[str, str]) -> str:
    hours, commit = facts["trial hours"], facts["commit"][:10]
    return f"Trials: {facts['trials']}; {hours} trial hours; {facts['hardware']}; commit {commit}."


def filled(page: str, folder: Path = PAGES) -> str:
    """Returns the text of a page with the tables of all stored results that it names."""

    def fill(found: re.Match[str]) -> str:
        kind, sweep = found.groups()
        stored = folder / f"{sweep}.json"
        content = _TABLES[kind](json.loads(stored.read_text())) if stored.exists() else "Not run to its end yet."
        return f"<!-- {kind}: {sweep} -->\n{content}\n<!-- end -->"

    return re.sub(rf"<!-- ({'|'.join(_TABLES)}): (\w+) -->\n.*?<!-- end -->", fill, page, flags=re.DOTALL)


_TABLES = {"results": table, "conjectures": conjectures_table}


def main() -> None:
    """Collects a sweep if one is named, and fills all pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", nargs="?", help="a sweep in sweeps/")
    parser.add_argument("--name", help="its name in the storage, if --set changed it")
    parser.add_argument("--storage", default="./results")
    parser.add_argument("--figure", action="append", default=[], help="a figure of the report, such as stability_ratio")
    parser.add_argument("--conjectures", action="store_true", help="store the verdicts on the paper's conjectures")
    given = parser.parse_args()
    if given.sweep:
        collect(given.sweep, given.name or given.sweep, given.storage, given.figure, given.conjectures)
    for page in sorted(PAGES.glob("*.md")):
        page.write_text(filled(page.read_text()))


if __name__ == "__main__":
    main()
