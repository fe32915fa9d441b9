"""Members of the registry itself, which come and go beside the other hosts."""

from __future__ import annotations

from random import Random

from adsum.model import Owner

from .asks import Ask, Item, Kind
from .shown import Shown
from .world import World

MOST = 20
NEVER = 2**62


class Members:
    """Each has a process of its own. `shown` notes what becomes of them."""

    def __init__(self, world: World, random: Random, shown: Shown) -> None:
        self._world, self._random, self._shown = world, random, shown
        self._owners: dict[str, Owner] = {}
        self._number = 0
        self._ever = 0
        self._node = shown.node = "here"

    def step(self) -> None:
        """One of them is registered, updated, ends, or dies; and how one that has died ended becomes known."""
        random = self._random
        what = random.random()
        if not self._owners or (what < 0.4 and len(self._owners) < MOST):
            self._register()
        elif what < 0.6:
            id = random.choice(list(self._owners))
            self._ask("update", id, self._owners[id], custom={"step": self._number})
            self._shown.changed(id, "updated")
        elif what < 0.75:
            id = random.choice(list(self._owners))
            self._ask("unregister", id, self._owners.pop(id))
            self._shown.ended(id, "unregistered")
        else:
            self._die(random.choice(list(self._owners)))

    def _register(self) -> None:
        self._ever += 1
        id, owner = f"member {self._ever}", self._world.processes.start(100 + self._ever)
        self._owners[id] = owner
        self._ask("register", id, owner)
        self._shown.changed(id, "registered")

    def _die(self, id: str) -> None:
        owner = self._owners.pop(id)
        self._world.processes.kill(owner)
        self._world.commit(deaths=self._world.watch.deaths())
        self._shown.ended(id, "died")
        if self._random.random() < 0.5:
            self._ask("exit_of", id, owner)
            self._shown.note_exit(id, 3)

    def _ask(self, kind: Kind, id: str, owner: Owner, **fields: object) -> None:
        self._number += 1
        item = Item(("team", self._node, id), fields)
        ask = Ask(kind, b"the members", self._number, NEVER, (item,), owner=owner, caller=owner, code=3)
        outcome = self._world.commit(asks=[ask])
        for answer in outcome.answers or ():
            self._world.core.receipts.sent(answer.session, answer.number)
