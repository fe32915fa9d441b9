"""The hosts of the cluster: which of them can be reached, and how many members each has."""

from __future__ import annotations

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from ... import ALL
from ...model import Host, Reach
from ...views.cluster_documents import HostDocument
from ...views.order import by_name, sorted_names
from ..site import WebSite, site_of
from ..topics import PartsTopic

LEFT_OUT = "there is no room for its entries here"


async def hosts_page(request: Request) -> Response:
    """The page."""
    site = site_of(request)
    revision = site.broadcaster.catch_up()
    return site.page(request, "hosts.html", active="hosts", live=("hosts", "", revision), hosts=known_hosts(site))


def hosts_topic(site: WebSite, base: str, _: QueryParams) -> tuple[object, PartsTopic]:
    """The topic of the list."""

    def make() -> PartsTopic:
        revision = site.broadcaster.catch_up()
        return PartsTopic(revision, lambda _: {"hosts": site.render(base, "hosts_part.html", hosts=known_hosts(site))})

    key = ("hosts", base)
    return key, site.broadcaster.topic(key, make)


def known_hosts(site: WebSite) -> list[HostDocument]:
    """This host and the others; empty where the registry is part of no cluster, or knows of no other host yet."""
    others = sorted(site.registry.hosts(), key=lambda host: by_name(host.name))
    if not others:
        return []
    members = site.registry.find(namespace=ALL, hosts="here")
    own = HostDocument("", Reach.here, len(members), sorted_names({entry.process_id.node for entry in members}), 0, "")
    return [own, *(_document(host) for host in others)]


def _document(host: Host) -> HostDocument:
    trouble = LEFT_OUT if host.left_out else ""
    return HostDocument(host.name, host.reach, host.entries, sorted_names(host.nodes), host.fence, trouble)
