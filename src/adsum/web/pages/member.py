"""One member: all it says, its process and the processes around it, its events, and lines to copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from ...cards import CARD_PATHS, NoCard, agent_card, server_card
from ...errors import NotRegistered, OtherHost, PermissionDenied
from ...model import Departure, Entry, ProcessId, Reach
from ...views.process_tree import TreeLine, process_tree
from ...views.recent import Step, newest_changes
from ..api import id_of
from ..change_rows import EventRows
from ..html import python_literal, shell_word
from ..paths import member_path, unescaped
from ..site import WebSite, base_of, site_of
from ..topics import PartsTopic

MAX_EVENTS = 20


async def member_page(request: Request) -> Response:
    """The page; with status 404 where the id has no living holder."""
    site, process_id = site_of(request), id_of(request)
    revision = site.broadcaster.catch_up()
    context = _context(site, base_of(request), process_id, _read_events(site, process_id))
    return site.page(
        request,
        "member.html",
        200 if context["entry"] is not None else 404,
        active="members",
        problem=request.query_params.get("problem", ""),
        live=("member", "?" + _query(process_id), revision),
        **context,
    )


def _query(process_id: ProcessId) -> str:
    return f"path={member_path(process_id)}"


def member_topic(site: WebSite, base: str, query: QueryParams) -> tuple[object, PartsTopic]:
    """The topic of a member, whether it lives or not."""
    parts = [unescaped(part) for part in query.get("path", "").split("/")]
    process_id = ProcessId(*parts) if len(parts) == 3 else ProcessId("", "", "")
    steps: list[Step] = []

    def concerns(step: Step) -> bool:
        entry = step.after or step.before
        return entry is not None and entry.process_id == process_id

    def render(changed: list[Step]) -> dict[str, str]:
        steps.extend(changed)
        del steps[:-MAX_EVENTS]
        return {"member": site.render(base, "member_part.html", **_context(site, base, process_id, steps))}

    def make() -> PartsTopic:
        revision = site.broadcaster.catch_up()
        steps[:] = _read_events(site, process_id)
        return PartsTopic(revision, render, concerns)

    key = ("member", base, process_id)
    return key, site.broadcaster.topic(key, make)


def _read_events(site: WebSite, process_id: ProcessId) -> list[Step]:
    steps = newest_changes(site.registry).steps or ()
    found = [step for step in steps if (entry := step.after or step.before) and entry.process_id == process_id]
    return found[-MAX_EVENTS:]


def _context(site: WebSite, base: str, process_id: ProcessId, steps: list[Step]) -> dict[str, object]:
    entry = site.lookup(process_id)
    rows = EventRows(site.registry, base)
    epoch = site.broadcaster.mirror.revision.epoch
    return {
        "process_id": process_id,
        "path": member_path(process_id),
        "entry": entry,
        "departure": None if entry is not None else _last_departure(site, process_id),
        # The pid of a member of another host says nothing here.
        "usage": None if entry is None or entry.reach is not Reach.here else _read(site.registry.usage, process_id),
        "tree": [] if entry is None or entry.reach is not Reach.here else _tree(site, entry),
        "cards": [] if entry is None else _cards(site, base, entry),
        "python": _python_lines(site, process_id),
        "shell": _shell_lines(site, process_id),
        "events": [(f"e{step.revision}", rows.row(step, epoch)[0]) for step in reversed(steps)],
    }


class CardLink(NamedTuple):
    """A card that a member's protocols ask for: where it is, or why there is none."""

    protocol: str
    address: str
    reason: str


def _cards(site: WebSite, base: str, entry: Entry) -> list[CardLink]:
    links = []
    for kind, end in CARD_PATHS.items():
        if kind not in entry.metadata.protocols:
            continue
        made = agent_card(entry) if kind == "a2a" else server_card(entry, site.settings.cards.publisher)
        address = f"{base}/agents/{member_path(entry.process_id)}{end}"
        links.append(CardLink(kind, "", made.reason) if isinstance(made, NoCard) else CardLink(kind, address, ""))
    return links


def _read(read: Callable[[ProcessId], object], process_id: ProcessId) -> object:
    try:
        return read(process_id)
    except (NotRegistered, OtherHost, PermissionDenied):
        # It died a moment ago, or /proc does not show it.
        return None


def _last_departure(site: WebSite, process_id: ProcessId) -> Departure | None:
    return next((one for one in site.departures() if one.entry.process_id == process_id), None)


def _tree(site: WebSite, entry: Entry) -> list[tuple[TreeLine, list[Entry]]]:
    """The lines of the process tree, each with the members that the process owns."""
    owned: dict[int, list[Entry]] = {}
    for one in site.broadcaster.living():
        if one.reach is Reach.here:
            owned.setdefault(one.pid, []).append(one)
    return [(line, owned.get(line.process.pid, [])) for line in process_tree(entry.pid)]


def _python_lines(site: WebSite, process_id: ProcessId) -> list[str]:
    registry = site.registry
    opened = f"registry = adsum.open(path={str(registry.folder)!r})"
    literal = python_literal(process_id, "default", registry.node)
    return ["import adsum", opened, f"entry = registry[{literal}]"]


def _shell_lines(site: WebSite, process_id: ProcessId) -> list[str]:
    folder = shell_word(str(site.registry.folder))
    word = shell_word(str(process_id))
    if "/" in process_id.namespace or "/" in process_id.node:
        # As one word it would be split at other slashes.
        parts = f"--namespace {shell_word(process_id.namespace)} --node {shell_word(process_id.node)}"
        word = f"{shell_word(process_id.local_id)} {parts}"
    end = f"{word} --path {folder}"
    return [f"adsum show {end}", f"adsum watch {end}", f"adsum wait --gone {end}"]
