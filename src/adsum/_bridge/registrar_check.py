"""Whether the registrar of this host answers. It is the one that learns of deaths here; while it is stopped, members of
this host that have died would stay found on all others, for the bridge itself goes on.

So a bridge vouches for the entries of its host only while the registrar answers. One that starts anew or is busy has as
much patience as a bridge that is cut off: the time to live.
"""

from __future__ import annotations

import asyncio

from .local import LocalRegistry

# How often it is asked.
ASK_SECONDS = 1.0
# A registrar may take so long to start on a busy machine.
LEAST_PATIENCE = 5.0


class RegistrarSilent(Exception):
    """The registrar of this host does not answer."""


class RegistrarCheck:
    """Asks the registrar of `local`, where that has members, with the patience for a lease of `ttl` seconds."""

    def __init__(self, local: LocalRegistry, ttl: float) -> None:
        self._local = local
        self._patience = max(ttl, LEAST_PATIENCE)

    async def run(self) -> None:
        """Ask again and again. Errors: `RegistrarSilent`; `RegistryClosed`."""
        while True:
            await self.require_answer()
            await asyncio.sleep(ASK_SECONDS)

    async def require_answer(self) -> None:
        """Have an answer, where there are members whose deaths it would have to report. Errors: the same."""
        if self._local.table and not await self._local.answers(self._patience):
            raise RegistrarSilent(
                f"the registrar of this host has not answered for {self._patience:g} s, so deaths of members here "
                "cannot be published; resume it where it is stopped (kill -CONT), or see adsum doctor"
            )
