"""What the fixtures of `adsum.pytest_plugin` are made of.

pytest finds the fixtures by itself, in every environment that has adsum: `adsum_dir`, `adsum_registry`, `adsum_member`
and `eventually`. This package has their types, for tests that are typed:

    import adsum
    from adsum.testing import Eventually, MemberFactory

    def test_the_dead_are_not_found(
        adsum_registry: adsum.Registry, adsum_member: MemberFactory, eventually: Eventually
    ) -> None:
        worker = adsum_member("worker-1", capabilities={"counting"})
        worker.kill()
        assert adsum_registry.find(capability="counting") == []
"""

from __future__ import annotations

from .member import Member as Member
from .member import MemberFactory as MemberFactory
from .polling import Eventually as Eventually

__all__ = ["Eventually", "Member", "MemberFactory"]
