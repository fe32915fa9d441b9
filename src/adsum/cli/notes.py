"""Messages on standard error, and the options that the commands in them need to be about the same registry."""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import asdict

from .options import RegistryOptions
from .output import render

# The commands that messages advise, and that take the options of a registry.
ADVISED = (
    *("audit", "bridge", "card", "catalog", "claim", "departures", "doctor", "health", "hosts", "ls", "metrics"),
    *("namespaces", "register", "registrar", "run", "show", "stats", "top", "unregister", "update", "wait", "watch"),
    *("adopt", "mcp", "web"),
)
_COMMAND = re.compile(rf"\badsum ({'|'.join(ADVISED)})\b")


def typed_options(options: RegistryOptions) -> str:
    """The options that name the same registry in another command, with a space before each."""
    return "".join(
        f" --{name} {shlex.quote(render.printable(str(value)))}" for name, value in asdict(options).items() if value
    )


def carry(text: str, options: RegistryOptions) -> str:
    """A message whose commands have these options: without them they would be about another registry."""
    typed = typed_options(options)
    if not typed or typed in text:
        return text
    return _COMMAND.sub(lambda found: found[0] + typed, text)


def note(message: str, options: RegistryOptions) -> None:
    """Print a message on standard error."""
    print(f"adsum: {carry(message, options)}", file=sys.stderr)
