"""The result of one check of `adsum doctor`."""

from __future__ import annotations

from typing import Literal, NamedTuple


class DoctorFinding(NamedTuple):
    """The result of one check: what it found, and the `remedy` unless all is well. The fields are those of --json."""

    check: str
    level: Literal["ok", "warning", "problem"]
    says: str
    remedy: str = ""


def ok(check: str, says: str) -> DoctorFinding:
    return DoctorFinding(check, "ok", says)


def warning(check: str, says: str, remedy: str) -> DoctorFinding:
    return DoctorFinding(check, "warning", says, remedy)


def problem(check: str, says: str, remedy: str = "") -> DoctorFinding:
    return DoctorFinding(check, "problem", says, remedy)


def absent(check: str, says: str) -> DoctorFinding:
    """There is no registry, as `absence` says it, with the one that the user may have meant."""
    what, _, meant = says.partition("; ")
    return warning(check, what, meant) if meant else ok(check, f"{what}; the first write makes it")
