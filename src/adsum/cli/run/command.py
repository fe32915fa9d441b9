"""``adsum run``: any program as a member, for as long as it runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter

from ..advice import in_shell_words
from ..options import (
    DEFAULT_REGISTRY,
    PATIENCE_SECONDS,
    HealthWord,
    Id,
    RegistryOptions,
    Timeout,
    TypeWord,
    UsageError,
    check_timeout,
)
from . import supervise
from .gate import GatedChild

_SEPARATOR = "--"
# What metadata can hold: 64 bits, with or without a sign.
_WHOLE_NUMBERS = range(-(2**63), 2**64)
_HELP_FLAGS = {"--help", "-h", "--version"}


def run(
    id: Id,
    /,
    *command: Annotated[str, Parameter(help="After --: the program and its arguments, passed on as they are.")],
    capability: Annotated[
        tuple[str, ...],
        Parameter(
            name=("--capability", "-c"), negative=(), show_default=False, help="What it can do; may be given again."
        ),
    ] = (),
    type: Annotated[TypeWord, Parameter(help="What part it plays.")] = "agent",
    health: Annotated[HealthWord, Parameter(help="How it says it is.")] = "healthy",
    endpoint: Annotated[str | None, Parameter(help="URL or address at which it is reached.")] = None,
    resource: Annotated[
        tuple[str, ...],
        Parameter(
            negative=(),
            metavar="NAME=VALUE",
            show_default=False,
            help="Something it has, a number where it reads as one that fits 64 bits; may be given again.",
        ),
    ] = (),
    timeout: Timeout = PATIENCE_SECONDS,
    options: RegistryOptions = DEFAULT_REGISTRY,
) -> int:
    """Register a program for as long as it runs.

    ```console
    $ adsum run planner --capability planning -- node agent.js
    ```

    The program is registered before it starts, so where that fails (the ID is taken, say) it never runs. Signals sent
    to adsum are passed on, but for SIGKILL and SIGSTOP, which no process can catch; what a terminal sends, Ctrl-C for
    one, the program gets from the terminal. The exit code is the program's, 128 + n where signal n ended it, 127 or 126
    where it cannot be started, 3 where it could not be registered.

    Where the program stops, adsum stops with it, so that the shell knows; fg or bg lets both go on. Only a program that
    gets SIGSTOP where there is no terminal is left to whoever sent it.

    The entry belongs to the program, not to adsum: where adsum itself is killed (SIGKILL), the program lives on, and so
    does its entry until the program ends.
    """
    if not command or not command[0]:
        raise UsageError("no program to run; type it after --, as in: adsum run planner -- node agent.js")
    metadata: dict[str, Any] = {
        "capabilities": set(capability),
        "type": type,
        "health_status": health,
        "endpoint": endpoint,
        "resources": _parse_resources(resource),
    }
    patience = check_timeout(timeout)
    child = GatedChild(command, set(supervise.WATCHED))
    try:
        # In a `with` that ends before the program begins: nothing of the registry is open while it runs.
        with options.open() as registry:
            process_id = options.parse_id(id, registry)
            with in_shell_words(process_id, options, registry):
                registry.register(process_id, child.pid, timeout=patience, **metadata)
        supervise.block()
    except BaseException:
        child.abandon()
        raise
    child.release()
    return supervise.attend(child.pid)


def require_separator(tokens: list[str]) -> None:
    """Without --, options of the program would be taken for options of adsum."""
    if tokens[:1] == ["run"] and len(tokens) > 1 and _SEPARATOR not in tokens and not _HELP_FLAGS.intersection(tokens):
        raise UsageError("type -- before the program, as in: adsum run planner -- node agent.js")


def _parse_resources(words: Sequence[str]) -> dict[str, int | float | str]:
    resources: dict[str, int | float | str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals):
            raise UsageError(f"--resource {word!r}: give NAME=VALUE, as in gpu=2")
        if name in resources:
            raise UsageError(f"--resource {word!r}: {name} is given twice; give each name once")
        resources[name] = _parse_value(value)
    return resources


def _parse_value(text: str) -> int | float | str:
    """A number where it reads as one that can be stored; anything else as it was written."""
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            # No number of this kind; in the end it is text.
            continue
        fits = number in _WHOLE_NUMBERS if isinstance(number, int) else math.isfinite(number)
        return number if fits else text
    return text
