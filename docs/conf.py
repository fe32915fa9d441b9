"""How Sphinx builds the documentation: ``make docs``, with every warning an error."""

from __future__ import annotations

import re
from typing import Any

import adsum

project = "adsum"
author = "the adsum contributors"
project_copyright = "the adsum contributors"
version = release = adsum.__version__

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"adsum {release}"
html_copy_source = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# Pages whose links form the table of contents. It is made here, because a directive in them would be shown as code
# where the repository is read.
INDEXES = {"index", "how-to/index", "decisions/index"}
_LINK = re.compile(r"\]\(([\w/-]+)\.md\)")


def _add_contents(_app: object, page: str, source: list[str]) -> None:
    if page in INDEXES:
        pages = "\n".join(dict.fromkeys(_LINK.findall(source[0])))
        source[0] += f"\n```{{toctree}}\n:hidden:\n\n{pages}\n```\n"


def setup(app: Any) -> None:
    app.connect("source-read", _add_contents)
