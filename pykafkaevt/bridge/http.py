"""The bridge by HTTP: the live page, metrics, health, and MI."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from importlib.resources import files
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from pykafkaevt.bridge.metrics import Metrics
from pykafkaevt.bridge.mi import MAX_REQUEST, Calls, to_json

HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
PAGE: Final = {
    "/": ("index.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
}


def is_loopback(authority: str) -> bool:
    """Whether the HOST or HOST:PORT of a Host header is this machine's own name for itself."""
    try:
        host = urlsplit(f"//{authority}").hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


@web.middleware
async def guard(request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
    """Forbid what other web sites make a browser ask: by a name of theirs (DNS rebinding), or from a page of theirs."""
    host = request.headers.get("Host", "")
    origin = request.headers.get("Origin")
    if not is_loopback(host):
        raise web.HTTPForbidden(text="Host must be a loopback address\n")
    if origin is not None and origin != f"http://{host}":
        raise web.HTTPForbidden(text="Origin must be this server\n")
    try:
        response: web.StreamResponse = await handler(request)
    except asyncio.TimeoutError:
        raise web.HTTPServiceUnavailable(text="the bridge does not answer\n") from None
    return response


class Pages:
    """The HTTP resources."""

    def __init__(self, calls: Calls) -> None:
        self.calls = calls
        folder = files("pykafkaevt.bridge").joinpath("page")
        self.files = {path: (folder.joinpath(name).read_bytes(), kind) for path, (name, kind) in PAGE.items()}

    def application(self) -> web.Application:
        """All of them behind the guard."""
        application = web.Application(middlewares=[guard], client_max_size=MAX_REQUEST)
        application.on_response_prepare.append(self.add_headers)
        application.router.add_post("/mi", self.mi)
        for path, handler in (
            ("/metrics", self.metrics),
            ("/healthz", self.healthz),
            ("/readyz", self.readyz),
            ("/api/snapshot", self.snapshot),
            ("/favicon.ico", self.nothing),
            *((path, self.page) for path in PAGE),
        ):
            application.router.add_get(path, handler)
        return application

    async def add_headers(self, _request: web.Request, response: web.StreamResponse) -> None:
        """The headers of every response."""
        response.headers.update(HEADERS)

    async def mi(self, request: web.Request) -> web.Response:
        """JSON-RPC. A page of another site cannot send this content type without asking first, which is forbidden."""
        if request.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType(text="Content-Type must be application/json\n")
        answered = await self.calls.answer(await request.read())
        if answered is None:
            return web.Response(status=204)
        return web.Response(body=answered, content_type="application/json")

    async def metrics(self, request: web.Request) -> web.Response:
        """For Prometheus."""
        registry = CollectorRegistry()
        registry.register(Metrics(await self.calls.snapshot()))
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(registry), headers={"Content-Type": content_type})

    async def healthz(self, _request: web.Request) -> web.Response:
        """Whether every input works."""
        return verdict(self.calls.bridge.faults())

    async def readyz(self, _request: web.Request) -> web.Response:
        """Whether it receives and every target is up."""
        return verdict(not_ready(await self.calls.snapshot()))

    async def snapshot(self, _request: web.Request) -> web.Response:
        """What the page shows."""
        return web.Response(body=to_json(await self.calls.snapshot()), content_type="application/json")

    async def page(self, request: web.Request) -> web.Response:
        """A file of the page."""
        body, kind = self.files[request.path]
        return web.Response(body=body, content_type=kind, charset="utf-8")

    async def nothing(self, _request: web.Request) -> web.Response:
        """What browsers ask for and we do not have."""
        return web.Response(status=204)


def verdict(reasons: list[str]) -> web.Response:
    """200 without reasons against it, otherwise 503 with them, one a line."""
    return web.Response(status=503 if reasons else 200, text="\n".join([*reasons, ""]) if reasons else "ok\n")


def not_ready(snapshot: Mapping[str, Any]) -> list[str]:
    """Why the bridge is not ready, empty when it is."""
    reasons = []
    if not snapshot["ready"]:
        reasons.append("the bridge is draining" if snapshot.get("draining") else "the bridge is starting")
    reasons += [f"{one['socket']}: {one['error'] or 'down'}" for one in snapshot["targets"] if not one["up"]]
    return reasons
