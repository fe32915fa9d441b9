"""The witness that judges the registry's answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from adsum import Entry, Registry
from adsum_demo.witness import Witness
from tests.support import Child


@pytest.fixture
def child() -> Iterator[Child]:
    with Child("input()") as started:
        yield started


class Liar(Registry):
    """A registry that has stopped looking."""

    known: Entry

    def lookup(self, id: object) -> Entry | None:
        return self.known


def test_a_living_process_is_no_violation(registry: Registry, child: Child) -> None:
    """Who is alive may be handed out any number of times."""
    registry.register("a", child.process)
    witness = Witness(registry)
    assert witness.lookup("a") == witness.choose() == witness.find()[0]
    assert (witness.lookups, witness.finds, witness.dead_handed_out) == (1, 2, 0)
    witness.close()


def test_a_zombie_is_not_handed_out(registry: Registry, child: Child) -> None:
    """S2: after its death a process is not found, and the witness has nothing to say."""
    registry.register("a", child.process)
    witness = Witness(registry)
    witness.lookup("a")
    child.kill_unreaped()
    assert witness.lookup("a") is None
    assert witness.find() == []
    assert witness.dead_handed_out == 0
    witness.close()


@pytest.mark.parametrize("reaped", [False, True])
def test_a_dead_process_handed_out_is_noticed(registry: Registry, child: Child, reaped: bool) -> None:
    """A registry that hands out a process after its death is found out every time it does."""
    with Liar(path=registry.folder) as liar:
        liar.known = registry.register("a", child.process).entry
        witness = Witness(liar)
        witness.lookup("a")
        child.kill() if reaped else child.kill_unreaped()
        witness.lookup("a")
        witness.lookup("a")
        assert witness.dead_handed_out == 2
        witness.close()


def test_who_was_dead_at_first_sight_is_noticed_at_second(registry: Registry, child: Child) -> None:
    """A process that may have died during the first read is a violation from the second on."""
    with Liar(path=registry.folder) as liar:
        liar.known = registry.register("a", child.process).entry
        child.kill()
        witness = Witness(liar)
        witness.lookup("a")
        assert witness.dead_handed_out == 0
        witness.lookup("a")
        assert witness.dead_handed_out == 1
        witness.close()
