"""The command line of ``adsum mcp`` alone."""

from __future__ import annotations

from cyclopts import App

from ..naming import new_app
from .command import mcp


def build(tokens: list[str]) -> App:
    """The command line with this command. Of `tokens`, the first is its name."""
    app = new_app()
    app.command(mcp)
    return app


def prepare(tokens: list[str]) -> list[str]:
    """The command line as it is: no program follows it."""
    return tokens
