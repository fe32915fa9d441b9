"""Compares the agents' result with that of one process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .job import FileReport, PackageTotals


def differences(found: Iterable[FileReport], expected: Iterable[FileReport]) -> list[str]:
    """How two sets of reports differ: lines for each file that is not the same in both."""
    ours, theirs = ({report.name: report for report in reports} for reports in (found, expected))
    lines = [f"{name}: only the agents report it" for name in sorted(ours.keys() - theirs.keys())]
    lines += [f"{name}: the agents do not report it" for name in sorted(theirs.keys() - ours.keys())]
    for name in sorted(ours.keys() & theirs.keys()):
        if ours[name] != theirs[name]:
            fields = [f for f in FileReport.__struct_fields__ if getattr(ours[name], f) != getattr(theirs[name], f)]
            lines += [f"{name}: {f} {getattr(ours[name], f)!r}, should be {getattr(theirs[name], f)!r}" for f in fields]
    return lines


def differences_in_totals(found: Mapping[str, PackageTotals], expected: Mapping[str, PackageTotals]) -> list[str]:
    """How two sets of totals differ: a line for each package that is not the same in both."""
    return [
        f"package {package}: {found.get(package)!r}, should be {expected.get(package)!r}"
        for package in sorted({*found, *expected})
        if found.get(package) != expected.get(package)
    ]
