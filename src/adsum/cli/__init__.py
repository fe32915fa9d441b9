"""The `adsum` command. Needs the extra: ``pip install 'adsum[cli]'``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import adsum

NOT_FOUND = 1
USAGE = 2
REGISTRY_ERROR = 3
INTERRUPTED = 130
# The exit code that a shell reports for a program that SIGPIPE ended: 128 + 13.
BROKEN_PIPE = 141

_EXTRA = ("cyclopts", "rich", "attrs", "docstring_parser")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line, `sys.argv` by default, and return its exit code: 0 done, 1 no or not found, 2 usage,
    3 registry error."""
    try:
        if arguments is None:
            # So this command may be a registrar_command=["adsum"].
            adsum.freeze_support()
        from .dispatching import dispatch

        return dispatch(list(sys.argv[1:] if arguments is None else arguments))
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        print(f"adsum: the command line needs {error.name}; run: pip install 'adsum[cli]'", file=sys.stderr)
        return REGISTRY_ERROR
    except KeyboardInterrupt:
        # Ctrl-C while the imports still ran.
        return INTERRUPTED
