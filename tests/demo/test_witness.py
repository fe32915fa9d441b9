"""The witness that checks the registry's answers."""

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


class UncheckedRegistry(Registry):
    """A registry whose lookup does not check whether the process is alive."""

    known: Entry

    def lookup(self, id: object, *, unreachable: bool = False) -> Entry | None:
        return self.known


def test_a_living_process_is_no_violation(registry: Registry, child: Child) -> None:
    """A living process may be returned any number of times."""
    registry.register("a", child.process)
    witness = Witness(registry)
    assert witness.lookup("a") == witness.choose() == witness.find()[0]
    assert (witness.lookups, witness.finds, witness.dead_handed_out) == (1, 2, 0)
    witness.close()


def test_a_zombie_is_not_returned(registry: Registry, child: Child) -> None:
    """S2: a process is not found after its death, and the witness counts no violation."""
    registry.register("a", child.process)
    witness = Witness(registry)
    witness.lookup("a")
    child.kill_unreaped()
    assert witness.lookup("a") is None
    assert witness.find() == []
    assert witness.dead_handed_out == 0
    witness.close()


@pytest.mark.parametrize("reaped", [False, True])
def test_a_dead_process_returned_is_counted(registry: Registry, child: Child, reaped: bool) -> None:
    """The witness counts every read that returns a process after its death."""
    with UncheckedRegistry(path=registry.folder) as unchecked:
        unchecked.known = registry.register("a", child.process).entry
        witness = Witness(unchecked)
        witness.lookup("a")
        child.kill() if reaped else child.kill_unreaped()
        witness.lookup("a")
        witness.lookup("a")
        assert witness.dead_handed_out == 2
        witness.close()


def test_a_process_dead_at_first_sight_counts_from_the_second_read(registry: Registry, child: Child) -> None:
    """A process that may have died during the first read is a violation from the second read on."""
    with UncheckedRegistry(path=registry.folder) as unchecked:
        unchecked.known = registry.register("a", child.process).entry
        child.kill()
        witness = Witness(unchecked)
        witness.lookup("a")
        assert witness.dead_handed_out == 0
        witness.lookup("a")
        assert witness.dead_handed_out == 1
        witness.close()
