"""``adsum adopt``: registers the running sessions of coding agents."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ... import Registry
from ...model import Entry
from ...views import words
from ...views.documents import entry_document
from .. import NOT_FOUND
from ..options import DEFAULT_REGISTRY, FLAG, Json, RegistryOptions, UsageError
from ..output import render
from .adoption import CAPABILITY, Adoption, look_at_all
from .formats import load


def adopt(
    *agents: Annotated[str, Parameter(help="The agents: claude, codex, copilot, or those of --formats.")],
    watch: Annotated[bool, FLAG, Parameter(help="Go on until Ctrl-C: adopt new sessions, update the others.")] = False,
    interval: Annotated[float, Parameter(metavar="SECONDS", help="With --watch, how often to look.")] = 1.0,
    formats: Annotated[
        Path | None, Parameter(metavar="FILE", help="A TOML file with further agents, or other formats of these.")
    ] = None,
    json: Json = False,
    options: RegistryOptions = DEFAULT_REGISTRY,
) -> int:
    """Register the running sessions of coding agents, which know nothing of adsum.

    ```console
    $ adsum adopt claude --watch
    ```

    Coding agents write files about their sessions below the home folder. Each session that runs is registered as
    NAME-PID for as long as its process lives, with its working folder and what else the file says in its custom data,
    and its status as what it is doing. The kernel decides when it ends. A file that a session left behind, one whose
    number another process has now, and one that cannot be read are skipped with a message. A session whose file is
    removed while its process goes on is unregistered. Exit code 1 where no session runs.
    """
    known = load(formats)
    if not agents or (unknown := [agent for agent in agents if agent not in known]):
        what = f"{unknown[0]!r} is no agent that is known here" if agents else "name an agent"
        raise UsageError(f"{what}: {', '.join(sorted(known))}, or give a file of --formats")
    if watch and json:
        raise UsageError(f"--watch prints lines; for documents: adsum watch --capability {CAPABILITY} --json")
    if not 0.01 <= interval <= 86400:
        raise UsageError(f"--interval {interval:g}: give seconds, from 0.01 to 86400")
    with options.open() as registry:
        adoptions = [Adoption(agent, known[agent], registry) for agent in dict.fromkeys(agents)]
        if watch:
            _go_on(adoptions, interval, options, registry)
        entries = [entry for done, entry in look_at_all(adoptions, goes_on=False) if done != "left"]
        _print(entries, options, registry, json=json)
    return 0 if entries else NOT_FOUND


def _go_on(adoptions: list[Adoption], interval: float, options: RegistryOptions, registry: Registry) -> None:
    """Look again and again, and print a line for each change. Ends by Ctrl-C."""
    while True:
        for done, entry in look_at_all(adoptions, goes_on=True):
            if done == "kept":
                continue
            name = render.printable_id(options.show_id(entry.process_id, registry))
            print(render.printable(f"{done:<8} {name:<20} {_doing(entry):<10} {_folder(entry)}"), flush=True)
        time.sleep(interval)


def _print(entries: list[Entry], options: RegistryOptions, registry: Registry, *, json: bool) -> None:
    if json:
        render.print_json([entry_document(entry) for entry in entries])
    elif entries:
        rows = [_row(entry, options, registry) for entry in entries]
        render.print_table(("id", "pid", "up", "doing", "folder"), rows, optional=("up", "pid"))


def _row(entry: Entry, options: RegistryOptions, registry: Registry) -> list[str]:
    name = render.printable_id(options.show_id(entry.process_id, registry))
    return [name, str(entry.pid), words.ago(entry.registered_at), _doing(entry), _folder(entry)]


def _doing(entry: Entry) -> str:
    return entry.metadata.doing or "-"


def _folder(entry: Entry) -> str:
    return str(entry.custom.get("cwd", ""))
