"""The options for the limits of a new registry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

from cyclopts import Group, Parameter

from ...model import Limits
from ..options import WHOLE, UsageError

_GROUP = Group(
    "Limits of a new registry",
    help="They count when the registry is created; an existing registry keeps its limits. The defaults are those of "
    "adsum.Limits.",
    sort_key=5,
)
_Whole: TypeAlias = Annotated[int | None, WHOLE]
_Seconds: TypeAlias = Annotated[float | None, Parameter(metavar="SECONDS")]


@Parameter(name="*", group=_GROUP)
@dataclass(frozen=True)
class LimitOptions:
    """The limits that were given; None for those that were not."""

    max_memory_mib: Annotated[_Whole, Parameter(help="Table pages in use, in MiB.")] = None
    max_entries: Annotated[_Whole, Parameter(help="Number of entries.")] = None
    max_metadata_bytes: Annotated[_Whole, Parameter(help="Encoded metadata of one entry.")] = None
    max_capabilities: Annotated[_Whole, Parameter(help="Capabilities of one entry.")] = None
    max_readers: Annotated[_Whole, Parameter(help="Concurrent readers.")] = None
    max_pending: Annotated[_Whole, Parameter(help="Pending requests.")] = None
    registration_timeout: Annotated[_Seconds, Parameter(help="Timeout of writes that set none.")] = None
    cleanup_window: Annotated[_Seconds, Parameter(help="Time from a death to the removal of its entries.")] = None
    linger: Annotated[_Seconds, Parameter(help="How long a registrar without clients and entries stays.")] = None

    indexed: Annotated[
        tuple[str, ...],
        Parameter(
            name="--indexed",
            negative=(),
            metavar="NAME",
            help="A name of own data with an index, such as custom.model. Repeat the option for several.",
            show_default=False,
        ),
    ] = ()

    def limits(self) -> Limits:
        """The limits, with defaults for those that were not given. Errors: `UsageError`."""
        given: dict[str, Any] = {
            "max_memory_bytes": None if self.max_memory_mib is None else self.max_memory_mib * 1024**2,
            "max_entries": self.max_entries,
            "max_metadata_bytes": self.max_metadata_bytes,
            "max_capabilities": self.max_capabilities,
            "max_readers": self.max_readers,
            "max_pending": self.max_pending,
            "registration_timeout": self.registration_timeout,
            "cleanup_window": self.cleanup_window,
            "linger": self.linger,
            "indexed": frozenset(self.indexed),
        }
        try:
            return Limits(**{name: value for name, value in given.items() if value is not None})
        except ValueError as error:
            raise UsageError(str(error).replace("Limits.", "")) from error


DEFAULT_LIMITS = LimitOptions()
