"""Values of metadata, as they are typed in a shell."""

from __future__ import annotations

from typing import Any

from ..views import typed_values
from ..views.typed_values import number_or_text as number_or_text
from .options import UsageError


def plain_value(text: str) -> Any:
    """A number, true, false, null, a JSON list, object or string; otherwise the text. Errors: `UsageError`."""
    try:
        return typed_values.plain_value(text)
    except ValueError as error:
        raise UsageError(str(error)) from None
