"""The rules for texts and names in metadata: how long they may be, and which characters they may have.

A line is shown in lists and on terminals by tools that know nothing of adsum, so it has no character that starts
another one, or that controls a terminal.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from .errors import InvalidMetadata

MAX_NAME_BYTES = 255
MAX_DESCRIPTION_BYTES = 4096
MAX_VERSION_BYTES = 128
MAX_DOING_CHARACTERS = 200
MAX_PROTOCOLS = 32
MAX_PROTOCOL_BYTES = 32

# Of Unicode the control characters (Cc), and the separators of lines and paragraphs (Zl, Zp).
_CONTROL = "[\0-\x1f\x7f-\x9f\u2028\u2029]"


def check_names(names: Iterable[str], path: str, most: int = MAX_NAME_BYTES) -> None:
    """Errors: `InvalidMetadata` for a name that is empty, has a NUL, or more than so many bytes."""
    for name in names:
        if not name or "\0" in name:
            raise InvalidMetadata(f"{path}: {name!r} {'contains a NUL' if name else 'is empty'}; give non-empty text")
        check_text(name, path, most)


def check_text(text: str, path: str, most: int, *, least: int = 1) -> None:
    """Errors: `InvalidMetadata` for a text that is no Unicode, or has fewer or more bytes than this."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidMetadata(f"{path}: {text[:40]!r} is not valid Unicode text ({error.reason})") from error
    if not least <= size <= most:
        raise InvalidMetadata(f"{path}: {text[:40]!r} has {size} bytes of UTF-8; from {least} to {most} are admitted")


def check_description(text: str, path: str) -> None:
    """Errors: `InvalidMetadata` for a text that is too long. It may have several lines."""
    check_text(text, path, MAX_DESCRIPTION_BYTES, least=0)


def check_version(text: str, path: str) -> None:
    """Errors: `InvalidMetadata` for a text that is too long, or no line."""
    check_text(text, path, MAX_VERSION_BYTES, least=0)
    _check_line(text, path)


def check_doing(text: str, path: str) -> None:
    """Errors: `InvalidMetadata` for a text that is too long, or no line."""
    check_text(text, path, 4 * MAX_DOING_CHARACTERS, least=0)
    if len(text) > MAX_DOING_CHARACTERS:
        raise InvalidMetadata(
            f"{path}: {text[:40]!r} has {len(text)} characters, at most {MAX_DOING_CHARACTERS} are admitted; shorten "
            "it, and put the rest into custom"
        )
    _check_line(text, path)


def check_protocols(names: Collection[str], path: str) -> None:
    """Errors: `InvalidMetadata` for too many words, and for an empty or long one."""
    if len(names) > MAX_PROTOCOLS:
        raise InvalidMetadata(f"{path}: {len(names)} given, at most {MAX_PROTOCOLS} are admitted")
    check_names(names, path, MAX_PROTOCOL_BYTES)


def _check_line(text: str, path: str) -> None:
    # Most lines need no search, so most processes need not compile it.
    if not text.isprintable() and (found := re.search(_CONTROL, text)):
        raise InvalidMetadata(
            f"{path}: {text[:40]!r} has the control character {found[0]!r} at {found.start()}; give one line of text"
        )
