"""Fills the reference pages from the code: quantities and commands."""

from typing import Any

import typer.cli
import typer.main

from orchestrator.cli import app
from orchestrator.study.expectations.derived import DERIVED
from orchestrator.study.quantities.catalogue import BUILT_IN, DECLARED
from orchestrator.study.quantities.quantity_config import QuantityConfig
from orchestrator.study.record import SCALARS


def quantities() -> str:
    """The recorded quantities as a Markdown table."""
    rows = [f"| `{q.key}` | {q.unit} | {q.meaning.replace('|', chr(92) + '|')} |" for q in (*SCALARS, *DECLARED)]
    return "\n".join(["| key | unit | meaning |", "|---|---|---|", *rows])


def estimators() -> str:
    """The built-in quantities of sweep files as a Markdown table."""
    rows = [f"| `{name}` | {kind.__doc__} | {_settings(kind)} | {kind.cost} |" for name, kind in BUILT_IN.items()]
    return "\n".join(["| name | what is measured | settings with their defaults | cost |", "|---|---|---|---|", *rows])


def _settings(kind: type[QuantityConfig]) -> str:
    fields = {name: field.default for name, field in kind.model_fields.items() if name != "name"}
    if fields["every"] == 1:
        del fields["every"]
    return ", ".join(f"`{name}: {'null' if default is None else default}`" for name, default in fields.items())


def derived() -> str:
    """The derived quantities as a Markdown table."""
    rows = [f"| `{name}` | {kind.meaning.replace('|', chr(92) + '|')} |" for name, kind in DERIVED.items()]
    return "\n".join(["| name | meaning |", "|---|---|", *rows])


def commands() -> str:
    """The help of every command as Markdown."""
    group = typer.main.get_command(app)
    context = typer.Context(group, info_name="hessian-dynamics")
    text: str = typer.cli.get_docs_for_click(obj=group, ctx=context, name="hessian-dynamics")
    overview, _, details = text.partition("\n")[2].partition("**Commands**:")
    return f"{overview}\n## {details.partition('## ')[2]}"  # drops the list of commands, which repeats the headings


_FILLS = {"estimators": estimators, "quantities": quantities, "derived": derived, "commands": commands}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replaces the placeholders of the reference pages; called by MkDocs."""
    for name, fill in _FILLS.items():
        placeholder = f"<!-- {name} -->"
        if placeholder in markdown:
            markdown = markdown.replace(placeholder, fill())
    return markdown
