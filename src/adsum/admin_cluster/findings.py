"""The result of one check of a cluster."""

from __future__ import annotations

from typing import Literal

import msgspec


class Finding(msgspec.Struct, frozen=True):
    """The result of one check: its name, whether all is well, what it found, and the `remedy` unless all is well.

    A ``warning`` means that the cluster works, but not as well as it could; a ``problem`` that it does not work.
    """

    check: str
    level: Literal["ok", "warning", "problem"]
    says: str
    remedy: str = ""


def ok(check: str, says: str) -> Finding:
    return Finding(check, "ok", says)


def warning(check: str, says: str, remedy: str) -> Finding:
    return Finding(check, "warning", says, remedy)


def problem(check: str, says: str, remedy: str) -> Finding:
    return Finding(check, "problem", says, remedy)
