"""The replies that clients wait for, from their side: which were made, which were read."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeAlias

Name: TypeAlias = "tuple[bytes, int]"

INHERITED_NS = 60 * 10**9


class Ledger:
    """`confirmed` are replies about a change, at least all that the tables still hold; `unread` those of them
    that no client has yet; `inherited` those that the newest registrar found in the tables, and until when it has to
    keep them."""

    def __init__(self) -> None:
        self.confirmed: dict[Name, bytes] = {}
        self.unread: dict[Name, bytes] = {}
        self.inherited: dict[Name, int] = {}

    def made(self, replies: Mapping[Name, bytes]) -> None:
        self.confirmed |= replies

    def read(self, name: Name) -> None:
        self.unread.pop(name, None)
        self.inherited.pop(name, None)

    def close(self, session: bytes, now: int) -> None:
        """The client is gone and reads nothing any more; the registrar keeps the replies for a time, for it cannot know
        that."""
        for name in [name for name in self.unread.keys() | self.inherited.keys() if name[0] == session]:
            self.read(name)
            self.inherited[name] = now + INHERITED_NS

    def expire(self, now: int) -> None:
        for name in [name for name, until in self.inherited.items() if until < now]:
            self.read(name)

    def restart(self, found: Collection[Name], now: int) -> list[str]:
        """A registrar starts and finds these receipts."""
        self.inherited = dict.fromkeys(found, now + INHERITED_NS)
        return [f"the reply to {name} was lost with a registrar" for name in self.unread.keys() - set(found)]

    def violations(self, stored: Mapping[Name, bytes], made: Collection[Name]) -> list[str]:
        """The violations of the receipts that a commit stored, `made` being its own replies."""
        due = self.unread.keys() | set(made)
        wrong = [f"no receipt was stored for {name}" for name in due - stored.keys()]
        wrong += [
            f"the receipt of {name} is kept for no client" for name in stored.keys() - due - self.inherited.keys()
        ]
        wrong += self.untrue(stored)
        self.confirmed = {name: data for name, data in self.confirmed.items() if name in stored}
        return wrong

    def untrue(self, stored: Mapping[Name, bytes]) -> list[str]:
        """Receipts of changes that never happened, or happened otherwise."""
        return [
            f"the receipt of {name} says {data!r}, the truth is {self.confirmed.get(name)!r}"
            for name, data in stored.items()
            if self.confirmed.get(name) != data
        ]
