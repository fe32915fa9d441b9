"""Who is served: hosts, origins, tokens."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

import adsum.web
from adsum import Registry
from adsum.views.host_header import host_name, known_hosts
from adsum.web import openapi
from adsum.web.documents import ErrorDocument
from tests.support import ChildFailed

from .document import read
from .server import Server

TOKEN = "a secret of more than sixteen characters"
PATHS = [
    "/",
    "/departures",
    "/api/members",
    "/api/events",
    "/live?topic=registry",
    "/metrics",
    "/static/live.js",
    "/login",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("host", ["evil.example", "evil.example:8470", "localhost.evil.example", "10.0.0.7", ""])
def test_a_foreign_name_is_refused(client: TestClient, path: str, host: str) -> None:
    """A browser that was led here by the name of another site gets nothing (DNS rebinding)."""
    answer = client.get(path, headers={"Host": host})
    assert answer.status_code == 421
    assert "--allow-host" in answer.text


@pytest.mark.parametrize("host", ["localhost", "localhost:8470", "127.0.0.1:1", "[::1]:8470", "LOCALHOST."])
def test_the_names_of_this_machine_are_served(client: TestClient, host: str) -> None:
    """The names by which a machine asks for itself are served, with any port."""
    assert client.get("/api/members", headers={"Host": host}).status_code == 200


def test_a_name_that_is_allowed_is_served(registry: Registry) -> None:
    """A name that the operator gives is served, and others are not; an IP address only where that is said."""
    given = TestClient(adsum.web.app(registry, hosts={"Agents.Example", "fe80::1"}))
    for host, status in (("agents.example:80", 200), ("[fe80::1]", 200), ("example", 421), ("192.168.1.7", 421)):
        assert given.get("/api/members", headers={"Host": host}).status_code == status, host
    anywhere = TestClient(adsum.web.app(registry, any_address=True))
    for host, status in (("192.168.1.7:8470", 200), ("[2001:db8::1]:8470", 200), ("evil.example", 421)):
        assert anywhere.get("/api/members", headers={"Host": host}).status_code == status, host


def test_the_name_of_a_host() -> None:
    """The name in a header is found without its port, in lower case, with the brackets of IPv6."""
    assert [host_name(host) for host in ("A.b:1", "[::1]:80", "[::1]", "a.", "a_b")] == [
        *("a.b", "[::1]", "[::1]", "a", "a_b")
    ]
    assert known_hosts(["::1", "[::2]", "A.b", "fe80::1%eth0"]) == {"[::1]", "[::2]", "a.b", "[fe80::1%eth0]"}


MALFORMED = [
    *("", " ", ":8470", "localhost:", "localhost:x", "localhost:8470x", "localhost:8470:1", "localhost:123456"),
    *("localhost@x.example", "localhost:8470@x.example", "localhost:8470/x", "localhost:8470?x", "localhost:8470#x"),
    *(
        "[::1]x.example",
        "[::1].x.example:80",
        "[::1",
        "::1",
        "localhost x.example",
        "localhost,x.example",
        "localhost..",
    ),
]


@pytest.mark.parametrize("host", MALFORMED)
def test_a_malformed_host_is_refused(client: TestClient, host: str) -> None:
    """A header that only begins with a known name is none: all of it is a name, and a port of digits."""
    assert host_name(host) is None
    assert client.get("/api/members", headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("name", ["", "*", "*.agents.example", "http://agents.example", "agents.example/x", "a b"])
def test_what_is_no_name_cannot_be_allowed(registry: Registry, name: str) -> None:
    """A URL, a pattern or an empty text in the place of a name is refused with what to give, in Python and in a
    shell."""
    with pytest.raises(ValueError, match="is no name of a host; give the name or the address"):
        adsum.web.app(registry, hosts={name})
    with pytest.raises(ChildFailed, match=r"--allow-host .* is no name of a host"):
        Server(registry.folder, "--allow-host", name)


@pytest.mark.parametrize(
    ("reason", "status", "headers"),
    [
        ("unknown_host", 421, {"Host": "evil.example"}),
        ("other_site", 403, {"Origin": "http://evil.example"}),
        ("token_required", 401, {}),
        ("method_not_allowed", 405, {"Authorization": f"Bearer {TOKEN}"}),
    ],
)
def test_the_api_refuses_with_a_document(registry: Registry, reason: str, status: int, headers: dict[str, str]) -> None:
    """Each refusal of the JSON API is the document of an error, as its description says."""
    application = adsum.web.app(registry, token=TOKEN)
    described = openapi.description()["paths"]
    for path in ("/api/members", "/api/departures", "/api/events", "/api/openapi.json"):
        assert f"{status}" in described[path]["get"]["responses"]
        for prefix in ("", "/below"):
            client = TestClient(Starlette(routes=[Mount(prefix, application)]) if prefix else application)
            method = "POST" if status == 405 else "GET"
            answer = client.request(method, prefix + path, headers=headers)
            assert answer.status_code == status
            assert answer.headers["content-type"] == "application/json"
            assert msgspec.json.decode(answer.content, type=ErrorDocument).reason == reason
            assert answer.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)
            assert ("GET" in answer.headers.get("allow", "")) == (status == 405)


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://testserver.evil.example", "http://localhost"]
)
@pytest.mark.parametrize("path", ["/registry/audit", "/members/a/b/c/health"])
def test_another_site_can_send_nothing(client: TestClient, origin: str, path: str) -> None:
    """A form or a script of another site, or of another port, is refused, whatever it asks for."""
    assert client.post(path, headers={"Origin": origin}).status_code == 403
    assert client.get("/api/members", headers={"Origin": origin}).status_code == 403


def test_its_own_origin_can_send(client: TestClient) -> None:
    """The pages' own forms are served, and programs that are no browser; a request that a browser says is of another
    site is not, though it has no origin."""
    assert client.post("/registry/audit", headers={"Origin": "http://testserver"}).status_code == 303
    assert client.post("/registry/audit").status_code == 303
    assert client.post("/registry/audit", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert client.post("/registry/audit", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 303
    # A link on another site leads here, as to any page.
    assert client.get("/", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200


def test_behind_a_proxy_the_browser_name_counts(registry: Registry) -> None:
    """Where a proxy asks for another host than the browser, the origin is the name that the operator gave."""
    client = TestClient(adsum.web.app(registry, hosts={"agents.example"}), follow_redirects=False)
    for origin, status in (("https://agents.example", 303), ("https://evil.example", 403), ("http://localhost", 403)):
        headers = {"Host": "127.0.0.1:8470", "Origin": origin}
        assert client.post("/registry/audit", headers=headers).status_code == status, origin


@pytest.fixture
def locked(registry: Registry) -> Iterator[TestClient]:
    """A client of an application that asks for a token."""
    with TestClient(adsum.web.app(registry, token=TOKEN), follow_redirects=False) as client:
        yield client


BROWSER = {"Accept": "text/html,application/xhtml+xml"}


@pytest.mark.parametrize(
    "path", ["/", "/api/members", "/api/events", "/live?topic=registry", "/metrics", "/api/openapi.json"]
)
def test_nothing_without_the_token(locked: TestClient, path: str) -> None:
    """Without the token, or with another one, nothing is read; a browser is led to the form."""
    wrong = [{}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}, {"Authorization": f"Basic {TOKEN}"}]
    for headers in wrong:
        answer = locked.get(path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
    answer = locked.get(path, headers=BROWSER)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/login?next=%2F")
    assert locked.post("/registry/audit", headers=BROWSER).status_code == 401


def test_a_program_gives_the_token_in_a_header(locked: TestClient) -> None:
    """With the token in its header, a program is served."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert locked.get("/api/members", headers=headers).status_code == 200
    assert locked.get("/", headers=headers).status_code == 200


def test_a_browser_gives_the_token_once(locked: TestClient) -> None:
    """After the form a browser is served by its cookie, which is not the token, and which no script can read."""
    target = locked.get("/team?wanted=x", headers=BROWSER).headers["location"]
    form = read(locked.get(target, headers=BROWSER).text).find("form")[0]
    hidden = form.find("input")[0].attributes
    assert hidden["value"] == "/team?wanted=x"
    assert "That is not the token" in locked.post("/login", data={"token": "x", "next": "/"}).text
    answer = locked.post("/login", data={"token": TOKEN, "next": hidden["value"]})
    assert (answer.status_code, answer.headers["location"]) == (303, "/team?wanted=x")
    cookie = answer.headers["set-cookie"]
    assert TOKEN not in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert locked.get("/api/members").status_code == 200


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "x"]
)
def test_a_login_leads_to_no_other_site(locked: TestClient, target: str) -> None:
    """A link to the form that names another site leads to the members after it."""
    answer = locked.post("/login", data={"token": TOKEN, "next": target})
    assert answer.headers["location"] == "/"


def test_a_foreign_cookie_opens_nothing(registry: Registry, locked: TestClient) -> None:
    """The cookie of a server with another token is none for this one."""
    other = TestClient(adsum.web.app(registry, token="another"), follow_redirects=False)
    answer = other.post("/login", data={"token": "another"})
    name, _, value = answer.headers["set-cookie"].partition(";")[0].partition("=")
    locked.cookies.set(name, value)
    assert locked.get("/api/members").status_code == 401


def test_probes_need_no_token_and_no_name(locked: TestClient) -> None:
    """Probes of an orchestrator, which ask by any address and know no secret, are answered, and learn nothing else."""
    for path in ("/livez", "/readyz"):
        answer = locked.get(path, headers={"Host": "10.1.2.3:8470"})
        assert (answer.status_code, answer.text) == (200, "ok\n")


def test_an_empty_token_is_refused(registry: Registry) -> None:
    """An empty token is a mistake, and not the absence of one."""
    with pytest.raises(ValueError, match="give a secret"):
        adsum.web.app(registry, token="")
