"""Fills the reference pages from the code: recorded quantities and commands."""

from typing import Any

import typer.cli
import typer.main

from orchestrator.cli import app
from orchestrator.study.quantities.catalogue import DECLARED
from orchestrator.study.record import SCALARS


def quantities() -> str:
    """The recorded quantities as a Markdown table."""
    rows = [f"| `{q.key}` | {q.unit} | {q.meaning.replace('|', chr(92) + '|')} |" for q in (*SCALARS, *DECLARED)]
    return "\n".join(["| key | unit | meaning |", "|---|---|---|", *rows])


def commands() -> str:
    """The help of every command as Markdown."""
    group = typer.main.get_command(app)
    context = typer.Context(group, info_name="hessian-dynamics")
    text: str = typer.cli.get_docs_for_click(obj=group, ctx=context, name="hessian-dynamics")
    overview, _, details = text.partition("\n")[2].partition("**Commands**:")
    return f"{overview}\n## {details.partition('## ')[2]}"  # drops the list of commands, which repeats the headings


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replaces the placeholders of the reference pages; called by MkDocs."""
    for name, fill in (("quantities", quantities), ("commands", commands)):
        placeholder = f"<!-- {name} -->"
        if placeholder in markdown:
            markdown = markdown.replace(placeholder, fill())
    return markdown
