"""GET /openapi.json, /docs and /redoc. Their scripts are served by us from /static."""

from pathlib import Path

from litestar import get
from litestar.response.base import ASGIResponse
from litestar.router import Router
from litestar.static_files import (
    create_static_files_router,  # pyright: ignore[reportUnknownVariableType]
)
from litestar.types import ASGIApp

from gateway import openapi

__all__ = ["openapi_json", "redoc", "root", "static_router", "swagger_ui"]

STATIC = Path(__file__).resolve().parent.parent / "static"
# Redoc would fetch its logo, and a page could be made to fetch more; nothing leaves this origin.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; worker-src blob:; frame-ancestors 'none'"
)
HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
"""
SWAGGER_UI = (
    HEAD
    + """<title>Jurat API</title>
<link rel="stylesheet" href="static/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="static/swagger-ui-bundle.js"></script>
<script>
SwaggerUIBundle({url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true});
</script>
</body>
</html>
"""
)
REDOC = (
    HEAD
    + """<title>Jurat API reference</title>
<style>body { margin: 0; }</style>
</head>
<body>
<redoc spec-url="openapi.json"></redoc>
<script src="static/redoc.standalone.js"></script>
</body>
</html>
"""
)


@get("/openapi.json")
async def openapi_json() -> ASGIApp:
    """The API's description, made from the Structs of gateway.schema."""
    return ASGIResponse(body=openapi.document(), media_type="application/json")


@get("/docs")
async def swagger_ui() -> ASGIApp:
    """Swagger UI."""
    return _page(SWAGGER_UI)


@get("/redoc")
async def redoc() -> ASGIApp:
    """Redoc."""
    return _page(REDOC)


@get("/")
async def root() -> ASGIApp:
    """Whoever opens the gateway's address in a browser gets the API's description."""
    return ASGIResponse(status_code=307, headers={"location": "docs"})


def static_router() -> Router:
    """The scripts and the style sheet of the two pages."""
    return create_static_files_router(path="/static", directories=[STATIC])


def _page(text: str) -> ASGIResponse:
    return ASGIResponse(
        body=text.encode(),
        media_type="text/html; charset=utf-8",
        headers={"content-security-policy": POLICY},
    )
