"""What the web pages of one application have in common: the registry, who may come, and what is allowed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..cards import Site
from ..views.mirror import Scope

if TYPE_CHECKING:
    from .. import Registry
    from .broadcast import Broadcaster

# Names that a browser on this machine uses for it. An attacker's site can have its own name resolve to 127.0.0.1, but
# then the browser sends that name. `testserver` is the one of Starlette's test client, and is no name of the DNS.
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]", "testserver"})

LOCAL_SITE = Site()


@dataclass(frozen=True)
class Settings:
    """The settings of one application.

    - `registry`: what is shown; `scope`: which of its entries.
    - `allow_writes`: whether the pages can set a health status and unregister.
    - `token`: what a client must know; None for any client.
    - `hosts`: the names under which the pages may be asked for, in lower case and without a port.
    - `any_address`: whether an IP address is such a name too, whichever.
    - `cards`: where and in whose name the cards of members are published.
    """

    registry: Registry
    broadcaster: Broadcaster
    scope: Scope
    allow_writes: bool = False
    token: str | None = None
    hosts: frozenset[str] = LOOPBACK_HOSTS
    any_address: bool = False
    cards: Site = LOCAL_SITE
