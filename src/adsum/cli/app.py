"""All commands, and what they have in common at their end: flushed output, error messages, exit codes."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

from cyclopts import App, CycloptsError, UnknownCommandError

from .. import __version__
from ..errors import AdsumError, InvalidMetadata, InvalidProcessId, InvalidQuery, NotRegistered
from . import BROKEN_PIPE, INTERRUPTED, NOT_FOUND, REGISTRY_ERROR, USAGE
from .doctor.command import doctor
from .members.departures import departures
from .members.health import health
from .members.ls import ls
from .members.namespaces import namespaces
from .members.register import register
from .members.show import show
from .members.unregister import unregister
from .members.update import update
from .members.wait import wait
from .members.watch import watch
from .options import UsageError
from .registrar.audit import audit
from .registrar.command import registrar
from .registrar.metrics import metrics
from .registrar.stats import stats
from .run.claim import claim, pack_program
from .run.command import require_separator, run
from .top.command import top

_DEMO_SUMMARY = "Run a small multi-agent system on this machine, and kill its processes."

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
    "status": "adsum stats shows the figures of a registry, adsum doctor checks it",
}

_HELP = """A registry of the living processes on this machine, and of their capabilities.

```console
$ adsum run planner --capability planning -- node agent.js
$ adsum ls --capability planning
$ adsum show planner
```

A process is registered for as long as it lives. There is no server to start, and nothing to clean up. Exit codes: 0
done, 1 no or not found, 2 usage, 3 registry error, 130 ended by Ctrl-C, 141 output closed by its reader.
"""


def build(tokens: list[str]) -> App:
    """The command line. Modules that are slow to import are imported by the command that needs them."""
    app = App(
        name="adsum",
        version=f"adsum {__version__}",
        version_flags=("--version", "-V"),
        help=_HELP,
        help_format="markdown",
    )
    reading = (ls, show, namespaces, departures, watch, wait, top)
    writing = (register, health, update, unregister)
    for command in (*reading, *writing, stats, audit, doctor, registrar, metrics):
        app.command(command)
    app.command(run, usage="Usage: adsum run ID [OPTIONS] -- COMMAND [ARGUMENTS]")
    app.command(claim, usage="Usage: adsum claim [ID] [OPTIONS] -- COMMAND [ARGUMENTS]")
    if tokens[:1] == ["demo"]:
        from .demo.command import demo

        app.command(demo)
    else:
        app.command("adsum.cli.demo.command:demo", name="demo", help=_DEMO_SUMMARY)
    app.register_install_completion_command(help="Install shell completion of commands, options and ids.")
    return app


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
    app = build(tokens)
    app.suppress_keyboard_interrupt = False
    try:
        require_separator(tokens)
        result = app(pack_program(tokens), exit_on_error=False, print_error=False, result_action="return_value")
        return result if isinstance(result, int) else 0
    except UnknownCommandError as error:
        if (meant := _MEANT.get(tokens[0])) is None:
            return _usage_error(error)
        return _fail(f"there is no command {tokens[0]!r}; {meant}\nTry: adsum --help", USAGE)
    except CycloptsError as error:
        return _usage_error(error)
    except (UsageError, InvalidProcessId, InvalidMetadata, InvalidQuery) as error:
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
