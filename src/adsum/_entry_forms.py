"""An entry in other forms: plain data for JSON, one line for people, an object of a program's own class.

`Entry` inherits them. They are no fields: what is stored and sent does not change by them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from . import _gauges, _plain
from ._foreign import reraise_foreign
from .cluster_records import Reach
from .errors import InvalidMetadata

if TYPE_CHECKING:
    from .model import Entry, HealthSource

T = TypeVar("T")

# A repr names at most so many capabilities.
SHOWN_CAPABILITIES = 4


class EntryForms:
    """The properties and methods of `Entry` that are made of its fields."""

    __slots__ = ()

    @property
    def _entry(self) -> Entry:
        return cast("Entry", self)

    @property
    def id(self) -> str:
        """The process id as one string, ``namespace/node/local_id``, as the command line and its documents have it.

        A call of a registry takes any string for a local id: give it `process_id` instead.

        >>> registry.register(("robots", "rack-7", "arm")).entry.id
        'robots/rack-7/arm'
        """
        return str(self._entry.process_id)

    @property
    def endpoint(self) -> str | None:
        """``metadata.endpoint``: the address at which the member is reached.

        >>> registry.register("planner-1", endpoint="http://127.0.0.1:9001").entry.endpoint
        'http://127.0.0.1:9001'
        """
        return self._entry.metadata.endpoint

    @property
    def custom(self) -> dict[str, Any]:
        """``metadata.custom``: plain data of the member's own. It cannot be changed in place.

        >>> registry.register("planner-1", custom={"model": "small"}).entry.custom
        {'model': 'small'}
        """
        return self._entry.metadata.custom

    @property
    def gauges(self) -> dict[str, float]:
        """The gauges of the member, each with its present value: as of this access, not of the lookup.

        The values are read from shared memory, which costs about a microsecond for each. They are those of the
        registration, ``metadata.gauges``, once the entry is over, or no registry is open in this process.

        >>> registration = registry.register("worker-1", gauges={"load": 0.0})
        >>> entry = registry["worker-1"]
        >>> registration.gauges["load"] = 0.7
        >>> entry.gauges
        {'load': 0.7}
        """
        return _gauges.values_of(self._entry)

    @property
    def host(self) -> str:
        """The host of the cluster that the member is on; empty for members of this registry.

        >>> registry.register("planner-1").entry.host
        ''
        """
        origin = self._entry.origin
        return "" if origin is None else origin.host

    @property
    def reach(self) -> Reach:
        """Where the member is, as a `Reach`: ``here``, ``remote``, or ``unreachable`` in an entry that was asked for
        with ``unreachable=True``.

        >>> registry.register("planner-1").entry.reach.value
        'here'
        """
        origin = self._entry.origin
        return Reach.here if origin is None else origin.reach

    @property
    def health_said_by(self) -> HealthSource | None:
        """The `health_source`, where a process has said how well the member is. None where none has: the status is the
        one with which every member begins, and no process has set or confirmed it.

        >>> registration = registry.register("planner-1")
        >>> registration.entry.health_said_by, registration.update_health("healthy").health_said_by.value
        (None, 'process')
        """
        entry, metadata = self._entry, self._entry.metadata
        is_confirmed = metadata.health_status != "healthy" or metadata.last_health_check > entry.registered_at
        return entry.health_source if is_confirmed or entry.health_source != "process" else None

    def custom_as(self, type: type[T]) -> T:
        """The custom data as an object of a class: a msgspec struct, a dataclass, a model of pydantic, or another type
        that `msgspec.convert` takes. The counterpart of ``register(custom=object)``.

        Errors: `InvalidMetadata` where the data does not fit the class; `TypeError` for an impossible type.

        >>> import dataclasses
        >>> @dataclasses.dataclass
        ... class Task:
        ...     number: int
        ...     tags: set[str]
        >>> registry.register("planner-1", custom=Task(7, {"urgent"})).entry.custom_as(Task)
        Task(number=7, tags={'urgent'})
        """
        try:
            return _plain.from_plain(self.custom, type)
        except ValueError as error:
            reraise_foreign(error)
            name = getattr(type, "__name__", repr(type))
            raise InvalidMetadata(
                f"metadata.custom of {self.id} does not fit {name}: {error}; its member sets it with custom={name}(...)"
            ) from error

    def to_dict(self) -> dict[str, Any]:
        """All fields, and `id`, as plain data for JSON: the document that ``adsum show --json`` prints. Sets are sorted
        lists, times are strings, bytes are base64.

        >>> fields = registry.register("planner-1", capabilities={"review", "planning"}).entry.to_dict()
        >>> fields["metadata"]["capabilities"], fields["process_id"]["local_id"]
        (['planning', 'review'], 'planner-1')
        """
        entry = self._entry
        metadata = msgspec.structs.asdict(entry.metadata)
        for name, value in metadata.items():
            if isinstance(value, frozenset):
                metadata[name] = sorted(value)
        fields = {"id": self.id, **msgspec.structs.asdict(entry), "metadata": metadata, "gauges": self.gauges}
        # Of no use outside this machine.
        del fields["row_place"]
        origin = entry.origin
        fields |= {"origin": None if origin is None else msgspec.structs.asdict(origin), "host": self.host}
        fields["reach"] = self.reach
        fields["health_source"] = self.health_said_by
        fields["process_id"] = entry.process_id._asdict()
        fields["claims"] = [msgspec.structs.asdict(record) for record in entry.claims]
        if entry.owned_by is not None:
            owned_by = msgspec.structs.asdict(entry.owned_by)
            fields["owned_by"] = owned_by | {"process_id": entry.owned_by.process_id._asdict()}
        document: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(fields))
        return document

    def __repr__(self) -> str:
        # In one line, whatever characters are in it.
        entry, metadata = self._entry, self._entry.metadata
        words = [repr(self.id), f"pid={entry.pid}", metadata.type.value, metadata.health_status.value]
        if metadata.capabilities:
            names = sorted(metadata.capabilities)
            more = ", ..." if len(names) > SHOWN_CAPABILITIES else ""
            words.append(f"{{{', '.join(map(repr, names[:SHOWN_CAPABILITIES]))}{more}}}")
        if metadata.endpoint is not None:
            words.append(f"endpoint={metadata.endpoint!r}")
        return f"<Entry {' '.join(words)} incarnation={entry.incarnation} revision={entry.revision}>"
