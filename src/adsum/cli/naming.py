"""The name and the version with which every command line of adsum begins."""

from __future__ import annotations

from cyclopts import App

from .. import __version__


def new_app(help: str = "") -> App:
    """A command line without commands."""
    return App(
        name="adsum",
        version=f"adsum {__version__}",
        version_flags=("--version", "-V"),
        help=help,
        help_format="markdown",
    )
