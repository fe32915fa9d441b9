"""The state machine in registries of a particular kind."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import initialize

from adsum.model import Limits

from .machine import RegistryMachine
from .strategies import SMALL, TIGHT_MEMORY


class SmallRegistryMachine(RegistryMachine):
    """The same, in a registry with few members and little metadata."""

    @initialize(limits=st.just(SMALL), inodes=st.booleans())
    def boot(self, limits: Limits, inodes: bool) -> None:
        super().boot(limits, inodes)


class FullRegistryMachine(RegistryMachine):
    """The same, in a registry that has hardly any memory and starts with most of it taken."""

    @initialize(limits=st.just(TIGHT_MEMORY), inodes=st.booleans(), size=st.integers(40_000, 60_000))
    def boot(self, limits: Limits, inodes: bool, size: int = 50_000) -> None:
        super().boot(limits, inodes)
        self.fill_the_memory(self.play.world.processes.living[0], size, bound=False)
