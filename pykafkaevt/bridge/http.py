"""The bridge by HTTP: the live page, metrics, health, and MI."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from importlib.resources import files
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from pykafkaevt.bridge.accepting import Limit, RatedLines
from pykafkaevt.bridge.http_token import Token
from pykafkaevt.bridge.metrics import Metrics
from pykafkaevt.bridge.mi import MAX_REQUEST, METHODS, READING, Calls, to_json
from pykafkaevt.errors import ConfigError

logger = logging.getLogger("pykafkaevt.bridge.http")
logger.addFilter(RatedLines(HttpProcessingError, web.HTTPException, web.RequestPayloadError, OSError))

CONNECTIONS: Final = 64  # at one time
BACKLOG: Final = 128  # connections that wait to be accepted
LASTING: Final = 60.0  # seconds that a connection lasts at most, whatever its peer does
IDLE: Final = 10.0  # seconds until the head of a request is there
READING_SECONDS: Final = 5.0  # that a body may take
LINGERING: Final = 1.0  # seconds in which the rest of a body is read that nobody wants
SHUTDOWN: Final = 0.5  # seconds that requests may still take at the end

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
    """The HTTP resources. token: what lets a request change something; without one HTTP only reads."""

    def __init__(self, calls: Calls, token: Token | None) -> None:
        self.calls = calls
        self.token = token
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
        methods = self.methods(request)
        if request.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType(text="Content-Type must be application/json\n")
        try:
            body = await asyncio.wait_for(request.read(), READING_SECONDS)
        except asyncio.TimeoutError:
            raise web.HTTPRequestTimeout(text=f"the body took more than {READING_SECONDS:g} s\n") from None
        answered = await self.calls.answer(body, methods)
        if answered is None:
            return web.Response(status=204)
        return web.Response(body=answered, content_type="application/json")

    def methods(self, request: web.Request) -> Collection[str]:
        """What a request may call: all with the token, without one what reads, and nothing with a wrong one."""
        authorization = request.headers.get("Authorization")
        if authorization is None:
            return READING
        if self.token is None:
            raise web.HTTPForbidden(text="the bridge has no --http-token: HTTP only reads\n")
        if not self.token.admits(authorization):
            raise web.HTTPUnauthorized(text="this is not the token\n", headers={"WWW-Authenticate": "Bearer"})
        return METHODS

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


@asynccontextmanager
async def serving(pages: Pages, host: str, port: int) -> AsyncIterator[None]:
    """Serves them within the limits above. Raises ConfigError."""
    runner = web.AppRunner(
        pages.application(),
        access_log=None,
        logger=logger,
        shutdown_timeout=SHUTDOWN,
        keepalive_timeout=IDLE,
        lingering_time=LINGERING,
    )
    await runner.setup()
    try:
        assert runner.server is not None
        protocols = Limit(f"http {host}:{port}", CONNECTIONS, LASTING).around(runner.server)
        try:
            listening = await asyncio.get_running_loop().create_server(protocols, host, port, backlog=BACKLOG)
        except OSError as error:
            raise ConfigError("http", f"{host}:{port}: {os.strerror(error.errno) if error.errno else error}") from error
        try:
            yield
        finally:
            listening.close()
    finally:
        await runner.cleanup()


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
