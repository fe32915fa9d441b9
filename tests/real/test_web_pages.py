"""The web pages inside an application of FastAPI."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

import adsum.web
from adsum import Registry

fastapi = pytest.importorskip("fastapi", reason="fastapi is not installed")
pytestmark = pytest.mark.real


def test_fastapi_mounts_the_pages(registry: Registry) -> None:
    """Below a path of a FastAPI application the pages, their files and the API are there, with addresses below it."""
    registry.register("planner")
    application = fastapi.FastAPI()
    application.mount("/adsum", adsum.web.app(registry))
    with TestClient(application) as client:
        page = client.get("/adsum/")
        assert page.status_code == 200
        assert 'src="/adsum/static/live.js' in page.text
        assert client.get("/adsum/static/live.js").status_code == 200
        assert client.get("/adsum/api/members").json()["total"] == 1
        assert client.get("/adsum/", headers={"Host": "evil.example"}).status_code == 421
