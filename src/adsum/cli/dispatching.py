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
from .notes import carry
from .options import DEFAULT_REGISTRY, UsageError
from .similar import similar_word

# Words that users type for a command whose name is not similar.
_MEANT = {
    "list": "adsum ls lists the members",
    "members": "adsum ls lists the members",
    "agents": "adsum ls lists the members",
    "ps": "adsum ls lists the members",
    "version": "adsum --version prints the version",
    "add": "adsum register ID PID registers a process, adsum run ID -- COMMAND starts a program as a member",
    "exec": "adsum run ID -- COMMAND starts a program as a member",
    "delete": "adsum unregister ID removes an entry",
    "kill": "adsum show ID shows the pid of a member, kill(1) ends the process, and its entry ends with it",
    "stop": "adsum registrar --stop stops the registrar; kill(1) ends a member, and adsum show ID shows its pid",
    "restart": "adsum registrar --replace stops the registrar and starts another",
    "describe": "adsum show ID shows a member",
    "info": "adsum show ID shows a member, adsum stats the figures of a registry",
    "events": "adsum watch prints the changes as they happen",
    "follow": "adsum watch prints the changes as they happen",
    "tail": "adsum watch prints the changes as they happen",
    "logs": "adsum watch prints the changes as they happen; adsum doctor names the log of the registrar",
    "log": "adsum watch prints the changes as they happen; adsum doctor names the log of the registrar",
    "check": "adsum doctor checks a registry, adsum audit its tables",
    "history": "adsum departures lists the last entries that ended",
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
    while tokens[:1] == ["help"]:
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

    options = DEFAULT_REGISTRY
    try:
        command, bound, _ = build(tokens).parse_args(prepare(tokens), exit_on_error=False, print_error=False)
        options = bound.arguments.get("options", options)
        result = command(*bound.args, **bound.kwargs)
        return result if isinstance(result, int) else 0
    except UnknownCommandError as error:
        return _unknown_command(tokens[0], error)
    except CycloptsError as error:
        return _usage_error(error)
    except (UsageError, InvalidClusterAddress, InvalidProcessId, InvalidMetadata, InvalidQuery) as error:
        return _fail(str(error), USAGE)
    except NotRegistered as error:
        return _fail(carry(str(error), options), NOT_FOUND)
    except AdsumError as error:
        return _fail(carry(str(error), options), REGISTRY_ERROR)


def _unknown_command(word: str, error: UnknownCommandError) -> int:
    meant = _MEANT.get(word.lower())
    if meant is None and word.startswith("-"):
        meant = _meant_option(word)
        return _fail(f"there is no option {word!r} before a command{meant}\nTry: adsum --help", USAGE)
    if meant is None:
        return _usage_error(error)
    return _fail(f"there is no command {word!r}; {meant}\nTry: adsum --help", USAGE)


def _meant_option(word: str) -> str:
    """What to do about an option before a command, as the end of a message."""
    option = word.partition("=")[0]
    if similar := similar_word(option, ("--help", "--version")):
        return f"; did you mean {similar}?"
    return "; options follow their command, as in: adsum ls --name team"


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
