"""Where cards and catalogues are published, and in whose name."""

from __future__ import annotations

import re

import msgspec

# A name for what stays on this machine: below a domain that always means this machine (RFC 6761).
LOCAL_PUBLISHER = "agent.localhost"
_PUBLISHER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")


class Site(msgspec.Struct, frozen=True):
    """The URL and the publisher of cards.

    - `base_url`: the URL under which `respond` answers, such as ``https://agents.example.com/adsum``. A slash at its
      end does not count. Empty where that is not known: then catalogues have the cards inside.
    - `publisher`: the domain of the organisation that publishes, the first part of identifiers; agent.localhost by
      default.
    - `display_name`: the name of the host in catalogues; the registry's node by default.
    - `any_origin`: whether pages of other sites may read the cards in a browser (CORS). A public server wants that; on
      a machine of one user each web page could then see what runs there.

    Errors: `ValueError` for an impossible publisher or base URL.

    >>> adsum.cards.Site("https://agents.example.com/", publisher="example.com").base_url
    'https://agents.example.com'
    """

    base_url: str = ""
    publisher: str = LOCAL_PUBLISHER
    display_name: str = ""
    any_origin: bool = False

    def __post_init__(self) -> None:
        if not _PUBLISHER.fullmatch(self.publisher):
            raise ValueError(f"publisher={self.publisher!r}: give a domain name, such as example.com")
        if self.base_url and not self.base_url.startswith(("http://", "https://")):
            raise ValueError(f"base_url={self.base_url!r}: give a URL that begins with http:// or https://")
        if self.base_url.endswith("/"):
            msgspec.structs.force_setattr(self, "base_url", self.base_url.rstrip("/"))

    def at(self, base_url: str) -> Site:
        """The same site where it has a base URL, else this one with the base URL of a request.

        >>> adsum.cards.Site().at("http://localhost:8470").base_url
        'http://localhost:8470'
        """
        return self if self.base_url or not base_url else msgspec.structs.replace(self, base_url=base_url)
