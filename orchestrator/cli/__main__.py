"""Lets `python -m orchestrator.cli` run a command."""

from orchestrator.cli import main

main()
