"""`Limits`: the bounds of a registry."""

from collections.abc import Collection
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

import msgspec

from ._wording import do_you_mean

MAX_INDEXED = 16
MAX_INDEXED_BYTES = 128


class _LimitsType(msgspec.StructMeta):
    """The type of `Limits`: it adds advice to what msgspec says about an argument that there is not."""

    if not TYPE_CHECKING:

        def __call__(cls, *values: object, **bounds: object) -> object:  # noqa: N805 - of a class
            for name in bounds:
                if name not in cls.__struct_fields__:
                    meant = do_you_mean(name, cls.__struct_fields__)
                    known = ", ".join(cls.__struct_fields__)
                    raise TypeError(f"Limits.{name}: no such bound; {meant}the bounds are {known}")
            return super().__call__(*values, **bounds)


class Limits(msgspec.Struct, frozen=True, metaclass=_LimitsType):
    """The bounds of a registry. They are set by the process that makes it, and kept in it; later openers cannot change
    them.

    - `max_memory_bytes`: bytes of table pages in use (100 MiB); beyond it new registrations get `RegistryFull`. More
      memory holds more and larger entries; the file may grow to about twice that. A registry that is made in a small
      file system gets less: a quarter of the file system's size, and at least 1 MiB.
    - `registration_timeout`: seconds a write may take when the call names no timeout (1). A longer one hides a
      stopped registrar for longer; a shorter one fails on a busy machine.
    - `cleanup_window`: seconds from a death to the removal of its entries (0.1).
    - `max_entries`: number of entries (None: no bound but memory).
    - `max_metadata_bytes`: encoded size of one entry's metadata (64 KiB).
    - `max_capabilities`: capabilities of one entry (256).
    - `max_readers`: threads and processes that may read at the same instant (4,096).
    - `max_pending`: requests that wait in the registrar before it answers `SystemBusy` (8,192).
    - `linger`: seconds a registrar runs on without a client and an entry (30). With 0 it ends immediately, and the next
      write starts another.
    - `degraded_after`, `unhealthy_after`: how late a heartbeat may be before the registrar sets that health status, in
      multiples of the promised interval (1.5 and 3).
    - `indexed`: the names of own data that have an index, up to 16, such as ``{"custom.model", "resources.tokens"}``
      (none). A search for a value under such a name compares only the entries that have it. Each costs an index row for
      each entry.
    - `max_remote_entries`: entries of other hosts, in a registry that is part of a cluster (100,000). A host with which
      there would be more is left out with all of its entries, so that local members always have room.

    Errors: `TypeError` and `ValueError` for impossible bounds.

    >>> registry = adsum.open("small", limits=adsum.Limits(max_entries=2, registration_timeout=5.0))
    >>> both = registry.register_many([("a", {}), ("b", {})])
    >>> registry.register("c")
    Traceback (most recent call last):
    adsum.errors.RegistryFull: ...
    """

    max_memory_bytes: int = 100 * 1024 * 1024
    registration_timeout: float = 1.0
    cleanup_window: float = 0.1
    max_entries: int | None = None
    max_metadata_bytes: int = 64 * 1024
    max_capabilities: int = 256
    max_readers: int = 4096
    max_pending: int = 8192
    linger: float = 30.0
    degraded_after: float = 1.5
    unhealthy_after: float = 3.0
    indexed: AbstractSet[str] = frozenset()
    max_remote_entries: int = 100_000

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if (value is None and name == "max_entries") or name == "indexed":
                continue
            counted = name.startswith("max_")
            if isinstance(value, bool) or not isinstance(value, int if counted else (int, float)):
                raise TypeError(f"Limits.{name} must be a {'whole ' if counted else ''}number, not {value!r}")
            least, most = _BOUNDS.get(name, (1, 2**31) if counted else (0.001, 1e6))
            if not least <= value <= most:
                raise ValueError(f"Limits.{name} must be from {least:,} to {most:,}, not {value!r}")
        if self.degraded_after > self.unhealthy_after:
            raise ValueError(
                f"Limits.degraded_after must be at most Limits.unhealthy_after, {self.unhealthy_after!r}, not "
                f"{self.degraded_after!r}"
            )
        msgspec.structs.force_setattr(self, "indexed", _checked_names(self.indexed))


def _checked_names(names: object) -> frozenset[str]:
    if isinstance(names, str) or not isinstance(names, Collection):
        raise TypeError(f"Limits.indexed must be a set of names such as 'custom.model', not {names!r}")
    for name in names:
        field, *path = name.split(".") if isinstance(name, str) else ("",)
        if field not in ("custom", "resources") or not path or not all(path):
            raise ValueError(f"Limits.indexed: {name!r:.80} is no name such as 'custom.model' or 'resources.tokens'")
        if "\0" in name or len(name.encode(errors="replace")) > MAX_INDEXED_BYTES:
            raise ValueError(f"Limits.indexed: {name!r:.80} must have at most {MAX_INDEXED_BYTES} bytes and no NUL")
    if len(names) > MAX_INDEXED:
        raise ValueError(f"Limits.indexed must have at most {MAX_INDEXED} names, not {len(names)}")
    return frozenset(names)


# The least and the most of a bound, where they differ from those of other counts and times: what an address space, a
# reader table or an entry can be.
_BOUNDS: dict[str, tuple[float, float]] = {
    "max_memory_bytes": (1024 * 1024, 2**42),
    "max_metadata_bytes": (128, 4 * 1024 * 1024),
    "max_readers": (1, 2**20),
    "max_remote_entries": (0, 2**31),
    "linger": (0, 1e6),
    "degraded_after": (1, 1e6),
    "unhealthy_after": (1, 1e6),
}
