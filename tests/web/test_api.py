"""The JSON API follows its description, and the documents of the command line."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest
from starlette.routing import Route
from starlette.testclient import TestClient

import adsum.web
from adsum import Registry
from adsum.views.documents import EntryDocument, entry_document
from adsum.web import openapi
from adsum.web.application import api_routes
from adsum.web.documents import DeparturesDocument, ErrorDocument, MembersDocument
from adsum.web.paths import member_path, unescaped
from tests.process.people import no_registrar
from tests.support import eventually

PUBLISHED = Path(__file__).resolve().parents[2] / "docs" / "openapi.json"


def test_the_published_description_is_current() -> None:
    """docs/openapi.json is the description of the code. To renew it: python -m adsum.web.openapi > docs/openapi.json"""
    assert json.loads(PUBLISHED.read_text()) == json.loads(msgspec.json.encode(openapi.description()))


def test_the_description_has_every_address(client: TestClient) -> None:
    """The description has each address of the API and no other, and is served at one of them."""
    described = client.get("/api/openapi.json").json()
    assert set(described["paths"]) == {route.path for route in api_routes()}
    assert all("GET" in (route.methods or ()) for route in api_routes())
    mounted = {route.path for route in adsum.web.app(adsum.open(path="/nowhere")).routes if isinstance(route, Route)}
    assert {path for path in mounted if path.startswith("/api/")} == set(described["paths"])


def test_the_description_is_whole() -> None:
    """Every reference in the description leads to a schema, every parameter of a path is described, and each operation
    has a name of its own."""
    described = json.loads(msgspec.json.encode(openapi.description()))
    schemas = described["components"]["schemas"]
    references = _references(described)
    assert references
    assert {reference.removeprefix("#/components/schemas/") for reference in references} <= set(schemas)
    names = [operation["operationId"] for path in described["paths"].values() for operation in path.values()]
    assert len(names) == len(set(names))
    for path, operations in described["paths"].items():
        parameters = operations["get"].get("parameters", [])
        in_path = {one["name"] for one in parameters if one["in"] == "path"}
        assert in_path == {part.strip("{}") for part in path.split("/") if part.startswith("{")}
        assert all(one["schema"] and one["description"] for one in parameters)
        assert all(answer["description"] for answer in operations["get"]["responses"].values())


def _references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if "$ref" in value else set()
        return own.union(*map(_references, value.values()))
    return set().union(*map(_references, value)) if isinstance(value, list) else set()


def test_every_parameter_that_is_described_works(registry: Registry, client: TestClient) -> None:
    """Each parameter in the description changes what is found, or is refused where its value is impossible."""
    registry.register("worker", capabilities={"coding"})
    values = {
        "health": "unhealthy",
        "type": "service",
        "q": "nothing",
        "namespace": "x",
        "node": "x",
        "capability": "x",
    }
    described = openapi.description()["paths"]
    for parameter in described["/api/members"]["get"]["parameters"]:
        name = parameter["name"]
        if name in ("sort", "limit"):
            assert client.get("/api/members", params={name: "-"}).status_code == 400
            continue
        assert client.get("/api/members", params={name: values[name]}).json()["members"] == []
    registry.unregister("worker")
    for name, value in {"q": "nothing", "how": "died", "namespace": "x", "limit": "0"}.items():
        assert client.get("/api/departures", params={name: value}).json()["departures"] == []
    assert len(client.get("/api/departures").json()["departures"]) == 1
    assert client.get("/api/departures", params={"how": "eaten"}).status_code == 400


@pytest.mark.parametrize("address", ["/api/members", "/api/departures", "/api/events"])
def test_a_parameter_that_is_not_described_is_refused(client: TestClient, address: str) -> None:
    """A misspelt filter would find all: so each parameter that the description does not have is refused, with the one
    that may be meant."""
    described = openapi.description()["paths"][address]["get"]["parameters"]
    names = [one["name"] for one in described if one["in"] == "query"]
    for wrong in (*(f"{name}s" for name in names), "", "offset"):
        answer = client.get(address, params={wrong: "x"})
        assert answer.status_code == 400, wrong
        message = answer.json()["message"]
        assert repr(wrong) in message
        assert message.endswith(f"there are {', '.join(names)}")
    assert "do you mean q?" not in client.get(address, params={"offset": "x"}).json()["message"]
    assert f"do you mean {names[-1]}?" in client.get(address, params={f"{names[-1]}s": "x"}).json()["message"]


@pytest.mark.parametrize("how", ["left", "name_lost", "unreachable_forgotten", "unknown"])
def test_ends_of_members_of_other_hosts_can_be_asked_for(client: TestClient, how: str) -> None:
    """The page offers them where there are such, or one is asked for."""
    assert client.get("/api/departures", params={"how": how}).status_code == 200
    label = f'<span class="name">{how.replace("_", " ")}</span>'
    assert label in client.get("/departures", params={"how": how}).text
    assert label not in client.get("/departures").text


def test_members_are_the_documents_of_the_command_line(registry: Registry, client: TestClient) -> None:
    """The members are those that a search finds, as the documents that `adsum ls --json` prints; total counts those
    that a limit leaves out, and the revision is the present one."""
    for n in range(5):
        registry.register(f"w-{n}", capabilities={"b", "a"}, custom={"bytes": b"x"}, gauges={"load": n / 10})
    document = _answer(client, "/api/members?limit=2", MembersDocument)
    expected = [entry_document(registry["w-0"]), entry_document(registry["w-1"])]
    assert msgspec.json.encode(document.members) == msgspec.json.encode(expected)
    assert (document.total, document.revision) == (5, 5)
    with registry.watch() as watch:
        assert document.epoch == str(watch.revision.epoch)
    one = _answer(client, f"/api/members/default/{registry.node}/w-3", EntryDocument)
    assert msgspec.json.encode(one) == msgspec.json.encode(entry_document(registry["w-3"]))
    error = _answer(client, "/api/members/default/x/y", ErrorDocument, 404)
    assert error.reason == "not_registered"
    assert _answer(client, "/api/x", ErrorDocument, 404).reason == "not_found"


def test_documents_are_as_new_as_the_members(registry: Registry, client: TestClient) -> None:
    """A document that was given before has the member's later changes, gauges in shared memory included."""
    registry.register("a", gauges={"load": 0.1})
    registry.register("b")
    assert client.get("/api/members").json()["total"] == 2
    registry.set_gauge("a", "load", 0.9)
    registry.update("b", doing="something else")
    first, second = client.get("/api/members").json()["members"]
    assert first["gauges"] == {"load": 0.9}
    assert second["metadata"]["doing"] == "something else"


def test_departures_are_complete(registry: Registry, client: TestClient) -> None:
    """A departure has how, when, how soon and with which exit."""
    with subprocess.Popen(["sleep", "60"]) as child:
        registry.register("worker", child)
        child.kill()
        child.wait()
        eventually(lambda: registry.departures(1) and registry.departures(1)[0].exit == -9)
    registry.register("worker").unregister()
    document = _answer(client, "/api/departures", DeparturesDocument)
    assert [(one.how, one.exit) for one in document.departures] == [("unregistered", None), ("died", -9)]
    assert document.departures[1].detection > 0
    assert _answer(client, "/api/departures?limit=1", DeparturesDocument).total == 2


def test_a_death_while_no_registrar_ran_is_noticed(registry: Registry, client: TestClient) -> None:
    """The API and the pages say that only the time at which such a death was noticed is known."""
    with subprocess.Popen(["sleep", "60"]) as child:
        entry = registry.register("worker", child).entry
        with no_registrar(registry.folder):
            child.kill()
            child.wait()
    registry.register("next")
    (death,) = _answer(client, "/api/departures", DeparturesDocument).departures
    assert (death.how, death.detection, death.time_known) == ("died", None, False)
    assert "lived &lt;=" in client.get(f"/members/{member_path(entry.process_id)}").text
    assert re.search(r'"c-at">noticed <time', client.get("/departures").text)
    assert re.search(r'"c-at">noticed <time', client.get("/events").text)
    assert "after &lt;=" in client.get("/events").text
    assert "noticed <time" in client.get("/").text


def _answer(client: TestClient, path: str, kind: type[Any], status: int = 200) -> Any:
    """The document at a path: with the fields of its kind and no others, in their order."""
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    document = msgspec.json.decode(answer.content, type=kind)
    assert json.loads(msgspec.json.encode(document)) == answer.json()
    return document


@pytest.mark.parametrize(
    "parts",
    [
        ("default", "host", "worker"),
        ("a/b", "c/d", "e/f/"),
        ("..", ".", "..."),
        ("%2F", "%", "%41"),
        ("~s", "~", "~~d"),
        ("\\", "?x=1", "#y"),
        ("é", "日本", "\U0001f600"),
        (" ", "a b", "+"),
        ("<b>", '"', "'"),
        ("\n", "\x1b", ";,="),
    ],
)
def test_every_id_has_an_address(registry: Registry, client: TestClient, parts: tuple[str, str, str]) -> None:
    """A member with any characters in its id has pages and a document of its own, also where a proxy decodes the path
    once more."""
    process_id = adsum.ProcessId(*parts)
    registry.register(process_id)
    path = member_path(process_id)
    assert [unescaped(part) for part in _unquoted(path).split("/")] == list(parts)
    assert [unescaped(part) for part in _unquoted(_unquoted(path)).split("/")] == list(parts)
    assert client.get(f"/api/members/{path}").json()["process_id"]["local_id"] == parts[2]
    assert client.get(f"/members/{path}").status_code == 200


def _unquoted(path: str) -> str:
    return unquote(path)


def test_metrics(registry: Registry, client: TestClient) -> None:
    """The metrics are those of `adsum metrics`."""
    pytest.importorskip("prometheus_client", reason="the extra prometheus is not installed")
    registry.register("worker")
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'adsum_entries{health_status="healthy"' in answer.text
