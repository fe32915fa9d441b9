"""The results of checks, as ``adsum doctor`` and ``adsum bridge --check`` print them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...views.documents import CheckDocument, ChecksDocument
from . import render


def print_checks(findings: Sequence[CheckDocument], *, json: bool) -> int:
    """Print them, and return the exit code: 1 where one is a problem."""
    problems = [finding for finding in findings if finding.level == "problem"]
    if json:
        render.print_json(ChecksDocument(not problems, list(findings)))
    else:
        render.print_table(("check", "state", "found"), _rows(findings), empty="")
    return 1 if problems else 0


def _rows(findings: Sequence[CheckDocument]) -> Iterator[tuple[str, str, str]]:
    for finding in findings:
        yield finding.check, finding.level, finding.says
        if finding.remedy:
            yield "", "", f"-> {finding.remedy}"
