"""From a command line to an exit code: what all commands have in common at their end.

Output is flushed, and an error becomes a message and an exit code.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

from cyclopts import CycloptsError, UnknownCommandError

from ..errors import (
    AdsumError,
    InvalidClusterAddress,
    InvalidMetadata,
    InvalidProcessId,
    InvalidQuery,
    NotRegistered,
)
from . import BROKEN_PIPE, INTERRUPTED, NOT_FOUND, REGISTRY_ERROR, USAGE
from .options import UsageError

# Words that users type for a command whose name is not similar.
_MEANT = {
    "list": "adsum ls lists the members",
    "ps": "adsum ls lists the members",
    "lock": "adsum claim ID -- COMMAND runs a program while it holds a slot of a member",
    "get": "adsum show ID shows a member",
    "lookup": "adsum show ID shows a member",
    "find": "adsum ls lists the members that match its options",
    "set": "adsum update ID --set custom.model=small changes the metadata of a member",
    "remove": "adsum unregister ID removes an entry",
    "rm": "adsum unregister ID removes an entry",
    "start": "the first write starts a registrar; adsum registrar does, too",
    "dashboard": "adsum web serves web pages of a registry",
    "serve": "adsum web serves web pages of a registry",
    "ui": "adsum web serves web pages of a registry",
    "status": "adsum stats shows the figures of a registry, adsum doctor checks it",
}


def dispatch(tokens: list[str]) -> int:
    """Run one command line and return its exit code."""
    _prepare_output()
    if tokens[:1] == ["help"]:
        tokens = [*tokens[1:], "--help"]
    try:
        code = _run(tokens)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _discard_output()
        return BROKEN_PIPE
    except SystemExit as left:
        # rich prints the help, and exits with 1 where the pipe is broken (`Console.on_broken_pipe`).
        if isinstance(left.__context__, BrokenPipeError):
            return BROKEN_PIPE
        raise
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        _discard_output()
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}", REGISTRY_ERROR)


def _run(tokens: list[str]) -> int:
    if tokens[:1] == ["mcp"]:
        # A client waits for it at the beginning of each session, and the other commands take a while to import.
        from .mcp.app import build, prepare
    else:
        from .app import build, prepare

    app = build(tokens)
    app.suppress_keyboard_interrupt = False
    try:
        result = app(prepare(tokens), exit_on_error=False, print_error=False, result_action="return_value")
        return result if isinstance(result, int) else 0
    except UnknownCommandError as error:
        if (meant := _MEANT.get(tokens[0])) is None:
            return _usage_error(error)
        return _fail(f"there is no command {tokens[0]!r}; {meant}\nTry: adsum --help", USAGE)
    except CycloptsError as error:
        return _usage_error(error)
    except (UsageError, InvalidClusterAddress, InvalidProcessId, InvalidMetadata, InvalidQuery) as error:
        return _fail(str(error), USAGE)
    except NotRegistered as error:
        return _fail(str(error), NOT_FOUND)
    except AdsumError as error:
        return _fail(str(error), REGISTRY_ERROR)


def _usage_error(error: CycloptsError) -> int:
    error.verbose = False
    chain = " ".join(("adsum", *(error.command_chain or ())))
    return _fail(f"{error}\nTry: {chain} --help", USAGE)


def _prepare_output() -> None:
    # A stream that was closed before Python started is None (`adsum ls >&-`).
    nowhere = Path(os.devnull)
    sys.stdout = sys.stdout or nowhere.open("w", encoding="utf-8")
    sys.stderr = sys.stderr or nowhere.open("w", encoding="utf-8")
    # Characters that the encoding of the terminal lacks are escaped. They do not end the command with an error.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _fail(message: str, code: int) -> int:
    print(f"adsum: {message}", file=sys.stderr)
    return code


def _discard_output() -> None:
    """Redirect standard output to nowhere. Otherwise the interpreter would fail again when it flushes at exit."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except (OSError, ValueError, AttributeError):
        # Standard output has no descriptor, so nothing is buffered for one.
        return
