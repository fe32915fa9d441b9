"""The other registry of the same name, in the error of a call that did not find what its caller expected.

A user may have two living registries of one name, one in each default location (`_store.locations`). Where a member is
not found in the one, it is perhaps in the other. Only a failure looks for that one.
"""

from __future__ import annotations

from ._client.client import Client
from ._store import locations
from .errors import AdsumError


def name_other_location(error: AdsumError, client: Client) -> AdsumError:
    """The error, whose message names the other registry; unchanged where there is none, and where the caller gave the
    path of this one."""
    if client.is_named and (note := locations.describe_others(client.folder)) and note not in str(error):
        error.args = (f"{error}; {note}",)
    return error
