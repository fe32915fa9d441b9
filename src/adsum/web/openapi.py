"""The description of the JSON API, as OpenAPI 3.1. docs/openapi.json is this description; renew it with
``python -m adsum.web.openapi > docs/openapi.json``."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec

from .. import __version__
from ..model import HealthStatus, ProcessType
from ..views.documents import DepartureDocument, EntryDocument, EventDocument
from .api import HOWS
from .documents import DeparturesDocument, ErrorDocument, MembersDocument

_DOCUMENTS = (MembersDocument, DeparturesDocument, EntryDocument, EventDocument, DepartureDocument, ErrorDocument)


def _parameter(name: str, description: str, schema: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema or {"type": "string"}, **more}


_Q = _parameter(
    "q",
    "Words that must occur in the text of an entry, and conditions on its own data, as in `planner tokens>=1000`; the "
    "signs are = != >= <= > <, and quotes keep words together.",
)
_NAMESPACE = _parameter("namespace", "Only members in this namespace.")
_LIMIT = _parameter("limit", "At most so many, the first of the order.", {"type": "integer", "minimum": 0})
# Text: an epoch has 64 bits, of which a number of JavaScript keeps 53.
_EPOCH = {"type": "string", "pattern": "^[0-9]{1,20}$"}
_POSITION = {"type": "string", "pattern": "^([0-9]{1,20}\\.)?[0-9]{1,20}$"}
_FILTER = [
    _Q,
    _parameter("health", "Only members with this health status.", {"enum": [*HealthStatus]}),
    _parameter("type", "Only members of this type.", {"enum": [*ProcessType]}),
    _NAMESPACE,
    _parameter("node", "Only members on this node."),
    _parameter(
        "capability",
        "Only members with this capability; given several times, with all of them.",
        {"type": "array", "items": {"type": "string"}},
    ),
]
_MEMBER = [
    {
        "name": name,
        "in": "path",
        "required": True,
        "description": f"The {what} of the id, with ~s for a slash, ~p for %, ~~ for ~, ~d for a dot of . and ..",
        "schema": {"type": "string"},
    }
    for name, what in (("namespace", "namespace"), ("node", "node"), ("local_id", "local part"))
]


def _answer(description: str, document: type[Any], media_type: str = "application/json") -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{document.__name__}"}
    return {"description": description, "content": {media_type: {"schema": schema}}}


def _refused(description: str) -> dict[str, Any]:
    return _answer(description, ErrorDocument)


def _operation(name: str, summary: str, parameters: list[dict[str, Any]], **answers: dict[str, Any]) -> dict[str, Any]:
    responses = {status.removeprefix("s"): answer for status, answer in answers.items()}
    responses |= {status: _refused(why) for status, why in _REFUSALS.items()}
    return {"get": {"operationId": name, "summary": summary, "parameters": parameters, "responses": responses}}


# What any address may answer.
_REFUSALS = {
    "401": "The server asks for a token, and this is not it.",
    "403": "A page of another site has sent the request.",
    "405": "The address is only read: GET or HEAD.",
    "421": "The Host header is malformed, or none of the names that the server is asked for by.",
    "503": "The registry cannot be read.",
}


def _paths() -> dict[str, Any]:
    wrong = _refused("A parameter has an impossible value, or there is no such parameter.")
    return {
        "/api/members": _operation(
            "members",
            "The living members that match. A dead process is never among them.",
            [
                *_FILTER,
                _parameter("sort", "id, health, type, up, pid, or the name of a number; with - in front, reversed."),
                _LIMIT,
            ],
            s200=_answer("The members.", MembersDocument),
            s400=wrong,
        ),
        "/api/members/{namespace}/{node}/{local_id}": _operation(
            "member",
            "One living member.",
            _MEMBER,
            s200=_answer("The member.", EntryDocument),
            s404=_refused("No living process holds the id."),
        ),
        "/api/departures": _operation(
            "departures",
            "How the last entries ended, newest first.",
            [
                _parameter("q", "Words that must occur in the text of the entry."),
                _parameter("how", "Only such ends.", {"enum": HOWS}),
                _NAMESPACE,
                _LIMIT,
            ],
            s200=_answer("The departures.", DeparturesDocument),
            s400=wrong,
        ),
        "/api/events": _operation(
            "events",
            "Every change of the members that match, as it happens: server-sent events. The name of an event is its "
            "kind, its id EPOCH.REVISION, its data one document. `lagged` says that changes were missed. "
            "`unreachable`, `returned` and `whole` are about the `host` of a cluster.",
            [
                *_FILTER,
                _parameter("since", "Begin after this revision, or the event with this id, instead of now.", _POSITION),
                _parameter("epoch", "The epoch that the revision is of, where `since` has none.", _EPOCH),
                {
                    "name": "Last-Event-ID",
                    "in": "header",
                    "description": "As `since`, which it precedes. Browsers send it when they connect again.",
                    "schema": _POSITION,
                },
            ],
            s200=_answer("The stream.", EventDocument, "text/event-stream"),
            s400=wrong,
        ),
        "/api/openapi.json": _operation(
            "openapi",
            "This description.",
            [],
            s200={"description": "OpenAPI 3.1.", "content": {"application/json": {"schema": {}}}},
        ),
    }


def description() -> dict[str, Any]:
    """The description of the API."""
    _, schemas = msgspec.json.schema_components(_DOCUMENTS, ref_template="#/components/schemas/{name}")
    for schema in schemas.values():
        if "description" in schema:
            # Python 3.13 is the first that strips the indentation of docstrings itself.
            schema["description"] = inspect.cleandoc(schema["description"]).partition("\n\n>>> ")[0]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "adsum",
            "version": __version__,
            "summary": "The living processes of a registry on one machine.",
        },
        "paths": _paths(),
        "components": {"schemas": schemas, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        # A token is needed where the server was started with one.
        "security": [{}, {"token": []}],
    }


if __name__ == "__main__":
    import sys

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(description()), indent=2).decode() + "\n")
