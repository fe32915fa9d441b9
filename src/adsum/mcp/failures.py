"""`ToolError`: a call of a tool that did not do what it was asked, as a word and a sentence for the model."""

from __future__ import annotations

from ..errors import AdsumError


class ToolError(Exception):
    """`reason` is a stable word, as that of an `AdsumError`; the message says what to do next."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def translate(error: AdsumError | ValueError) -> ToolError:
    """The same failure for a model, whose arguments have other names."""
    reason = error.reason if isinstance(error, AdsumError) else "invalid_arguments"
    return ToolError(reason, str(error).replace("timeout=", "timeout_seconds="))
