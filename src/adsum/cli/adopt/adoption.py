"""Adoption: the sessions of the files become entries of the processes that run them, and are kept current.

The entry belongs to the session's own process, so the kernel decides when it ends, whether or not this command still
runs. It is removed before only where the file is gone and the process goes on: the session has ended in order.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ... import Registry
from ...errors import AdsumError, AlreadyRegistered, DeadProcess, InvalidMetadata, NotRegistered, Stale
from ...model import Entry
from ..output import render
from . import agent_sessions
from .agent_sessions import AgentSession, Skipped
from .formats import Format

CAPABILITY = "coding-agent"
_MARK = "adopted_from"


class Adoption:
    """The sessions of one agent in one registry. What it skips it says once on standard error."""

    def __init__(self, agent: str, format: Format, registry: Registry) -> None:
        self._agent = agent
        self._format = format
        self._registry = registry
        self._said: set[tuple[Path, str]] = set()

    def look(self) -> Iterator[tuple[str, Entry]]:
        """Look at all files once. Yields what has been done to which entry: ``adopted``, ``updated``, ``left`` where a
        session has ended in order, and ``kept`` where nothing was changed."""
        present = set()
        for path in self._format.session_files():
            present.add(str(path))
            try:
                yield self._adopt(agent_sessions.read(self._format, path))
            except (Skipped, InvalidMetadata) as error:
                self._say(path, str(error))
            except FileNotFoundError:
                # It was removed since the folder was read.
                present.discard(str(path))
        for entry in self._adopted():
            if entry.custom[_MARK] not in present:
                yield from self._release(entry)

    def _adopt(self, session: AgentSession) -> tuple[str, Entry]:
        local_id = f"{self._agent}-{session.process.pid}"
        fields = self._fields(session)
        entry = self._registry.lookup(local_id)
        if entry is not None and entry.start_time == session.process.start_ticks and _MARK in entry.custom:
            return self._update(entry, session, fields)
        try:
            entry = self._registry.register(local_id, session.process.pid, **fields).entry
        except DeadProcess as error:
            raise Skipped(f"process {session.process.pid} has ended") from error
        except AlreadyRegistered as error:
            raise Skipped(f"{local_id} is held by process {error.entry.pid}, which was not adopted") from error
        if entry.start_time != session.process.start_ticks:
            # The process ended after it was read, and the number was given to another one.
            self._registry.unregister(local_id, if_incarnation=entry.incarnation)
            raise Skipped(f"process {session.process.pid} has ended")
        return "adopted", entry

    def _fields(self, session: AgentSession) -> Any:
        return {
            "capabilities": {CAPABILITY, self._agent},
            "description": session.description,
            "version": session.version,
            "doing": session.doing,
            "custom": session.custom,
        }

    def _update(self, entry: Entry, session: AgentSession, fields: Any) -> tuple[str, Entry]:
        changed = {name: value for name, value in fields.items() if getattr(entry.metadata, name) != value}
        if not changed:
            return "kept", entry
        try:
            entry = self._registry.update(entry.process_id, if_incarnation=entry.incarnation, **changed)
        except (NotRegistered, Stale) as error:
            raise Skipped(f"process {session.process.pid} has ended") from error
        return "updated", entry

    def _adopted(self) -> list[Entry]:
        found = self._registry.find(capability={CAPABILITY, self._agent}, id_prefix=f"{self._agent}-")
        return [entry for entry in found if isinstance(entry.custom.get(_MARK), str)]

    def _release(self, entry: Entry) -> Iterator[tuple[str, Entry]]:
        try:
            if self._registry.unregister(entry.process_id, if_incarnation=entry.incarnation):
                yield "left", entry
        except Stale:
            # Another process has the id by now.
            return

    def _say(self, path: Path, why: str) -> None:
        if (path, why) not in self._said:
            self._said.add((path, why))
            print(f"adsum: skipped {render.printable(str(path))}: {render.printable(why)}", file=sys.stderr)


def look_at_all(adoptions: list[Adoption], *, goes_on: bool) -> Iterator[tuple[str, Entry]]:
    """What all of them do. Where the command `goes_on`, an error of the registry is said, and the next look tries
    again. Errors: `AdsumError` otherwise."""
    try:
        for adoption in adoptions:
            yield from adoption.look()
    except AdsumError as error:
        if not goes_on:
            raise
        print(f"adsum: {error}", file=sys.stderr)
