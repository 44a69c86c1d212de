"""The document describes the routes there are, and its references resolve."""

import json
import re
from typing import Any

from litestar.handlers import HTTPRouteHandler

from gateway.app import ROUTES
from gateway.openapi import OPERATIONS, document
from gateway.routes.docs import POLICY, REDOC, SWAGGER_UI

PAGES = {"/", "/openapi.json", "/docs", "/redoc"}


def test_every_route_is_described() -> None:
    described = {(operation.method.upper(), operation.path) for operation in OPERATIONS}
    served: set[tuple[str, str]] = set()
    for route in ROUTES:
        assert isinstance(route, HTTPRouteHandler)
        for path in route.paths - PAGES:
            for method in route.http_methods:
                served.add((str(method), re.sub(r":\w+}", "}", path)))
    assert served == described


def test_references_resolve() -> None:
    parsed = json.loads(document())
    schemas = parsed["components"]["schemas"]

    def check(node: Any) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                if key == "$ref":
                    assert value.rpartition("/")[2] in schemas
                check(value)
        elif isinstance(node, list):
            for item in node:
                check(item)

    check(parsed)
    assert len(schemas) > 10


def test_ranges_are_in_the_document() -> None:
    schemas = json.loads(document())["components"]["schemas"]
    temperature = json.dumps(schemas["ChatRequest"]["properties"]["temperature"])
    assert '"maximum": 2' in temperature


def test_the_pages_load_nothing_from_elsewhere() -> None:
    for page in (SWAGGER_UI, REDOC):
        assert "http://" not in page
        assert "https://" not in page
    assert "default-src 'self'" in POLICY
