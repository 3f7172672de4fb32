"""Commands that help to write sweep files: schema, init."""

import json
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.terminal import app, say
from orchestrator.counted import counted
from orchestrator.study.schema import sweep_file_schema
from orchestrator.study.starter_file import starter_file
from orchestrator.study.sweep import load_sweep

SCHEMA_FILE = "sweep.schema.json"


@app.command()
def schema() -> None:
    """Prints the JSON schema of sweep files, with which editors complete and check them.

    The first line of a sweep file names the schema: `# yaml-language-server: $schema=sweep.schema.json`.
    """
    say(_schema())


@app.command()
def init(
    file: Annotated[Path, typer.Argument(metavar="[FILE]", help="The new file.")] = Path("sweep.yaml"),
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="A built-in network, or your class: `my_package.models:MyNet`.")
    ] = None,
    data: Annotated[
        str, typer.Option(metavar="NAME", help="A built-in data set, or your function: `my_package.data:load`.")
    ] = "digits",
    loss: Annotated[
        str | None, typer.Option(metavar="NAME", help="A built-in loss, or your function: `my_package.losses:huber`.")
    ] = None,
) -> None:
    """Writes a commented sweep file for your network and data, and the schema for your editor beside it.

    Existing files are never overwritten.
    """
    if file.suffix not in (".yaml", ".yml"):
        raise ValueError(f"{str(file)!r} is not a name of a sweep file; end it in .yaml")
    _write_new(file, starter_file(file, SCHEMA_FILE, data, model, loss))
    try:
        sweep = load_sweep(str(file.absolute()))
    except ValueError:
        file.unlink()
        raise
    say(f"wrote {file}: {counted(len(sweep.trials), 'trial')}")
    say(_add_schema(file.with_name(SCHEMA_FILE)))
    say("edit the description, model, data, loss, optimizer, epochs and grid, then check it with:")
    say(f"  hessian-dynamics plan {file}")


def _schema() -> str:
    return json.dumps(sweep_file_schema(), indent=1)


def _add_schema(file: Path) -> str:
    """Writes the schema if the file does not exist. Returns what was done."""
    text = _schema() + "\n"
    if not file.exists():
        _write_new(file, text)
        return f"wrote {file}: editors check sweep files with it"
    same = file.read_text(encoding="utf-8") == text
    return f"kept {file}" + ("" if same else f", which is of another version: hessian-dynamics schema > {file}")


def _write_new(file: Path, text: str) -> None:
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError:
        raise ValueError(f"{file} exists and is never overwritten; give the name of a new file") from None
    except OSError as error:
        raise ValueError(f"{file} cannot be written: {error.strerror}") from None
