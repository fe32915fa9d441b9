"""What pages change, where it is allowed: health and entries, each of one incarnation."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

import adsum.web
from adsum import Registry
from tests.support import registrar_pid

from .document import read

BROWSER = {"Accept": "text/html"}


@pytest.fixture
def writer(registry: Registry) -> Iterator[TestClient]:
    """A client of an application that allows writes."""
    with TestClient(adsum.web.app(registry, allow_writes=True), follow_redirects=False) as client:
        yield client


def _path(registry: Registry, name: str) -> str:
    return f"/members/default/{registry.node}/{name}"


def test_a_page_sets_the_health(registry: Registry, writer: TestClient) -> None:
    """The form on a member's page sets its health status, and leads back."""
    entry = registry.register("worker").entry
    path = _path(registry, "worker")
    form = read(writer.get(path).text).find("form")[0]
    assert form.attributes["action"] == f"{path}/health"
    (incarnation,) = [one.attributes["value"] for one in form.find("input")]
    answer = writer.post(f"{path}/health", data={"incarnation": incarnation, "status": "degraded"})
    assert (answer.status_code, answer.headers["location"]) == (303, path)
    assert registry["worker"].metadata.health_status == "degraded"
    assert registry["worker"].incarnation == entry.incarnation


def test_a_page_unregisters(registry: Registry, writer: TestClient) -> None:
    """The other form removes the entry; the page then says that it is not here."""
    entry = registry.register("worker").entry
    path = _path(registry, "worker")
    answer = writer.post(f"{path}/unregister", data={"incarnation": str(entry.incarnation)})
    assert answer.status_code == 303
    assert "worker" not in registry
    page = writer.get(answer.headers["location"])
    assert page.status_code == 404
    assert "unregistered" in page.text


@pytest.mark.parametrize("action", ["health", "unregister"])
def test_a_later_holder_is_not_touched(registry: Registry, writer: TestClient, action: str) -> None:
    """A form that was made for an earlier holder of the id changes nothing, and the page says why."""
    old = registry.register("worker").entry.incarnation
    registry.unregister("worker")
    new = registry.register("worker").entry
    path = _path(registry, "worker")
    form = {"incarnation": str(old), "status": "unhealthy"}
    assert writer.post(f"{path}/{action}", data=form).status_code == 409
    answer = writer.post(f"{path}/{action}", data=form, headers=BROWSER)
    assert "incarnation" in read(writer.get(answer.headers["location"]).text).find("p", cls="problem")[0].text
    assert registry["worker"] == new


@pytest.mark.parametrize("action", ["health", "unregister"])
def test_nothing_is_changed_where_it_is_not_allowed(registry: Registry, client: TestClient, action: str) -> None:
    """An application that does not allow writes has no form for them, and refuses a request that needs none."""
    entry = registry.register("worker").entry
    path = _path(registry, "worker")
    assert not read(client.get(path).text).find("form")
    form = {"incarnation": str(entry.incarnation), "status": "unhealthy"}
    assert client.post(f"{path}/{action}", data=form).status_code == 403
    assert registry["worker"] == entry


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({}, 400),
        ({"incarnation": "x", "status": "healthy"}, 400),
        ({"incarnation": "-1", "status": "healthy"}, 400),
        ({"incarnation": "1", "status": "fine"}, 400),
        ({"incarnation": "1"}, 400),
        ({"incarnation": "1", "status": "x" * 5000}, 400),
    ],
)
def test_an_impossible_form_is_refused(
    registry: Registry, writer: TestClient, form: dict[str, str], status: int
) -> None:
    """A form with a value that is impossible, or too large, changes nothing."""
    entry = registry.register("worker").entry
    assert writer.post(f"{_path(registry, 'worker')}/health", data=form).status_code == status
    assert registry["worker"] == entry


def test_what_is_not_shown_is_not_changed(registry: Registry) -> None:
    """An application of one namespace shows and changes nothing of another one."""
    registry.register("worker")
    other = TestClient(adsum.web.app(registry, namespace="other", allow_writes=True), follow_redirects=False)
    path = _path(registry, "worker")
    assert other.get(path).status_code == 404
    assert other.get("/api/members").json()["total"] == 0
    form = {"incarnation": "1", "status": "unhealthy"}
    assert other.post(f"{path}/health", data=form).status_code == 404
    assert registry["worker"].metadata.health_status == "healthy"


def test_reading_starts_no_registrar(registry: Registry, client: TestClient) -> None:
    """Pages and API read memory: no registry is made, and no registrar is started for them."""
    for path in ("/", "/departures", "/events", "/team", "/registry", "/api/members", "/api/departures", "/readyz"):
        assert client.get(path).status_code == 200
    assert not registry.folder.exists()
    registry.register("worker")
    adsum.admin.stop_registrar(registry.folder)
    for path in ("/", "/registry", "/api/members", "/metrics"):
        assert client.get(path).status_code == 200
    assert registrar_pid(registry.folder) is None
