"""What a check of `adsum doctor` finds."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Finding(NamedTuple):
    """One thing looked at. `remedy` says what to do where it is not well."""

    check: str
    level: Literal["ok", "warning", "problem"]
    says: str
    remedy: str = ""


def ok(check: str, says: str) -> Finding:
    return Finding(check, "ok", says)


def warning(check: str, says: str, remedy: str) -> Finding:
    return Finding(check, "warning", says, remedy)


def problem(check: str, says: str, remedy: str = "") -> Finding:
    return Finding(check, "problem", says, remedy)
