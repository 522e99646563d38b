"""Without named origins nothing is added; with `*` every page may call, but no browser sends cookies along."""

from typing import Any

import httpx
import pytest
from starlette.responses import Response
from starlette.types import ASGIApp

from services.gateway.http.middleware.cors import with_cors

APP: ASGIApp = Response(b"answer", status_code=404)
PREFLIGHT = {"origin": "https://any.example", "access-control-request-method": "POST"}


def client(*origins: str) -> httpx.AsyncClient:
    app: Any = with_cors(APP, origins)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway")


def test_without_origins_the_application_is_as_it_was() -> None:
    assert with_cors(APP, ()) is APP


async def test_a_star_allows_all_but_no_credentials() -> None:
    async with client("*") as browser:
        preflight = await browser.options("/", headers=PREFLIGHT)
        answer = await browser.get("/", headers={"origin": "https://any.example"})
    for response in (preflight, answer):
        assert response.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in response.headers
    assert answer.status_code == 404


async def test_a_page_may_call_a_gateway_in_its_own_network() -> None:
    asked = {**PREFLIGHT, "access-control-request-private-network": "true"}
    async with client("https://any.example") as browser:
        answer = await browser.options("/", headers=asked)
    assert answer.headers["access-control-allow-private-network"] == "true"


@pytest.mark.parametrize("asked", [{"origin": "https://other.example"}, {"access-control-request-method": "TRACE"}])
async def test_a_preflight_for_more_is_refused(asked: dict[str, str]) -> None:
    async with client("https://any.example") as browser:
        assert (await browser.options("/", headers={**PREFLIGHT, **asked})).status_code == 400
