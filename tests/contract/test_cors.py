"""Which web pages may use the gateway from a browser."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gateway.settings import ServerSettings
from tests.contract.serving import configuration, serve

PAGE = "https://chat.example.org"
ASKING = {
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-stainless-os",
}


@pytest.fixture(params=[PAGE, "*"])
def origins(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def http(tmp_path: Path, origins: str) -> Iterator[httpx.Client]:
    server = ServerSettings(cors_origins=[origins])
    found = configuration(tmp_path, keys=("ann:secret",), server=server)
    with serve(found) as url, httpx.Client(base_url=url, timeout=20) as client:
        yield client


def test_a_page_of_an_allowed_origin(http: httpx.Client, origins: str) -> None:
    allowed = PAGE if origins == PAGE else "*"
    preflight = http.options("/v1/chat/completions", headers={"origin": PAGE, **ASKING})
    assert preflight.status_code == 204  # without a key: browsers send none here
    assert preflight.headers["access-control-allow-origin"] == allowed
    wanted = ASKING["access-control-request-headers"]
    assert preflight.headers["access-control-allow-headers"] == wanted
    assert "POST" in preflight.headers["access-control-allow-methods"]
    for key, status in (("secret", 200), ("wrong", 401)):
        headers = {"origin": PAGE, "authorization": f"Bearer {key}"}
        answer = http.get("/v1/models", headers=headers)
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == allowed
        assert answer.headers.get("vary") == (None if origins == "*" else "origin")
        assert "x-request-id" in answer.headers["access-control-expose-headers"]


@pytest.mark.parametrize("origins", [PAGE], indirect=True)
def test_other_pages_read_nothing(http: httpx.Client) -> None:
    for origin in ("https://evil.example.org", f"{PAGE}.evil.org", "null"):
        preflight = http.options("/v1/chat/completions", headers={"origin": origin, **ASKING})
        assert preflight.status_code == 401
        assert "access-control-allow-origin" not in preflight.headers
    plain = http.get("/health")
    assert plain.status_code == 200
    assert "access-control-allow-origin" not in plain.headers
