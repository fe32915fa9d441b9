"""How Sphinx builds the documentation: ``make docs``, with every warning an error."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

import adsum

project = "adsum"
author = "the adsum contributors"
project_copyright = "the adsum contributors"
version = release = adsum.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"adsum {release}"
html_copy_source = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# In a docstring, `name` is something of adsum's where there is such a thing, and code in any case.
default_role = "py:obj"
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"


class CommandHelp(SphinxDirective):
    """The help of a command: ``{command-help} ls`` is the output of ``adsum ls --help``."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        shown = subprocess.run(
            [sys.executable, "-m", "adsum.cli", *self.arguments, "--help"],
            env={**os.environ, "COLUMNS": "88", "NO_COLOR": "1", "TERM": "dumb"},
            capture_output=True,
            text=True,
            check=True,
        )
        text = "\n".join(line.rstrip() for line in shown.stdout.strip().splitlines())
        return [nodes.literal_block(text, text, language="text")]


def _without_bases(_app: object, _name: str, _obj: object, _options: object, bases: list[Any]) -> None:
    """The documentation shows no private base of a class."""
    public = [base for base in bases if not getattr(base, "__module__", "").startswith("adsum._")]
    bases[:] = public or [object]


def setup(app: Any) -> None:
    app.add_directive("command-help", CommandHelp)
    app.connect("autodoc-process-bases", _without_bases)
