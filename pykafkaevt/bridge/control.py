"""Control and sight of a running bridge: OpenSIPS's MI as JSON-RPC 2.0, by unix socket and HTTP; metrics; the page."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import stat
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from importlib.resources import files
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import orjson
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from pykafkaevt.bridge.metrics import Metrics
from pykafkaevt.errors import ConfigError, Error, EventError

logger = logging.getLogger("pykafkaevt.bridge")

MAX_REQUEST: Final = 1 << 20  # bytes of a JSON-RPC request or batch
MAX_CLIENTS: Final = 256  # of the control socket at one time
MAX_EXPIRE: Final = 2**31 - 1  # seconds; more is no time a thread can wait
PATIENCE: Final = 2.0  # seconds that /readyz and others wait for the bridge to say how it is

# JSON-RPC 2.0, section 5.1; a failure of the bridge itself is 500, as OpenSIPS's MI has it
PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
FAILED: Final = 500

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


class Bridge(Protocol):
    """What is controlled; it has a method for each name of METHODS but `which`, too, and all may block."""

    @property
    def ready(self) -> bool:
        """Whether it receives."""

    @property
    def healthy(self) -> bool:
        """Whether the process works; must not block."""

    def snapshot(self) -> dict[str, Any]:
        """Everything there is to see, JSON-able, without secrets."""


class Refused(Exception):
    """A request answered with an error. code, message, data: those of the JSON-RPC error object."""

    def __init__(self, code: int, message: str, data: str | None = None) -> None:
        super().__init__(code, message, data)
        self.error = {"code": code, "message": message, **({} if data is None else {"data": data})}


# JSON-RPC


def text(value: Any) -> str:
    """A parameter that is text. Raises ValueError."""
    if not isinstance(value, str):
        raise ValueError("must be a string")
    return value


def seconds(value: Any) -> float:
    """A parameter in seconds, a number or its text, as OpenSIPS's MI takes both. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("must be a number")
    try:
        number = float(value)
    except ValueError:
        raise ValueError("must be a number") from None
    if not number <= MAX_EXPIRE:
        raise ValueError(f"is at most {MAX_EXPIRE}")
    return int(number) if number.is_integer() else number


def anything(value: Any) -> Any:
    """A parameter that the bridge checks."""
    return value


# the methods, with their parameters in the order they have when given by position
METHODS: Final[Mapping[str, Mapping[str, Callable[[Any], Any]]]] = {
    "event_subscribe": {"event": text, "socket": text, "expire": seconds},
    "events_list": {},
    "kafka_stats": {},
    "raise_event": {"event": text, "params": anything},
    "reload": {},
    "subscribers_list": {"event": text, "socket": text},
    "which": {},
}
REQUIRED: Final = {"event_subscribe": ("event", "socket"), "raise_event": ("event",)}


def arguments(method: str, params: Any) -> dict[str, Any]:
    """The arguments of a method from JSON-RPC params, by name or by position; null is a parameter not given.

    Raises Refused.
    """
    checks = METHODS[method]
    if isinstance(params, list):
        if len(params) > len(checks):
            raise Refused(INVALID_PARAMS, "Invalid params", f"{method} takes {len(checks)} parameters at most")
        params = dict(zip(checks, params, strict=False))
    given = {}
    for name, value in (params or {}).items():
        if name not in checks:
            raise Refused(INVALID_PARAMS, "Invalid params", f"{method} has no parameter {name!r}")
        try:
            if value is not None:
                given[name] = checks[name](value)
        except ValueError as error:
            raise Refused(INVALID_PARAMS, "Invalid params", f"{name} {error}") from error
    for name in REQUIRED.get(method, ()):
        if name not in given:
            raise Refused(INVALID_PARAMS, "Invalid params", f"{method} needs {name}")
    return given


def call(bridge: Bridge, method: str, given: Mapping[str, Any]) -> Any:
    """Call a method of METHODS. Raises Refused with the code OpenSIPS's MI has for it."""
    try:
        return list(METHODS) if method == "which" else getattr(bridge, method)(**given)
    except EventError as error:
        raise Refused(error.code, str(error)) from error
    except (ValueError, Error) as error:
        # without parameters it is not they that are wrong, but say the file that reload reads
        if given and isinstance(error, ValueError):
            raise Refused(INVALID_PARAMS, "Invalid params", str(error)) from error
        raise Refused(FAILED, str(error)) from error
    except Exception as error:
        logger.exception("%s failed", method)
        raise Refused(INTERNAL_ERROR, "Internal error") from error


class Calls:
    """JSON-RPC 2.0 requests to a bridge; its methods run in threads of their own, for they may block."""

    def __init__(self, bridge: Bridge) -> None:
        self.bridge = bridge
        self.callers = ThreadPoolExecutor(4, "pykafkaevt control call")
        self.lookers = ThreadPoolExecutor(1, "pykafkaevt control look")
        self.looking: asyncio.Future[dict[str, Any]] | None = None

    def close(self) -> None:
        """Call no more; calls that block are left alone."""
        self.callers.shutdown(wait=False, cancel_futures=True)
        self.lookers.shutdown(wait=False, cancel_futures=True)

    async def snapshot(self) -> dict[str, Any]:
        """The bridge's; those who ask at the same time share one. Raises asyncio.TimeoutError."""
        if self.looking is None or self.looking.done():
            loop = asyncio.get_running_loop()
            self.looking = loop.run_in_executor(self.lookers, self.bridge.snapshot)
        return await asyncio.wait_for(asyncio.shield(self.looking), PATIENCE)

    async def answer(self, message: bytes) -> bytes | None:
        """The answer to a request or a batch; None when there is none: to notifications."""
        try:
            request = orjson.loads(message)
        except orjson.JSONDecodeError as error:
            return failure(PARSE_ERROR, "Parse error", str(error))
        if not isinstance(request, list):
            answered = await self.answer_one(request)
            return None if answered is None else to_json(answered)
        if not request:
            return failure(INVALID_REQUEST, "Invalid Request", "an empty batch")
        batch = [answered for one in request if (answered := await self.answer_one(one)) is not None]
        return to_json(batch) if batch else None

    async def answer_one(self, request: Any) -> dict[str, Any] | None:
        """The response object to a request object, None to a notification."""
        number = request.get("id") if isinstance(request, dict) else None
        try:
            method, given = checked(request)
            loop = asyncio.get_running_loop()
            result = await loop.run_in_executor(self.callers, call, self.bridge, method, given)
        except Refused as refused:
            if refused.error["code"] == INVALID_REQUEST:
                number = number if isinstance(number, (str, int, float)) and not isinstance(number, bool) else None
            elif "id" not in request:
                return None
            return {"jsonrpc": "2.0", "error": refused.error, "id": number}
        return {"jsonrpc": "2.0", "result": result, "id": number} if "id" in request else None


def checked(request: Any) -> tuple[str, dict[str, Any]]:
    """The method and arguments of a request object. Raises Refused."""
    if not isinstance(request, dict):
        raise Refused(INVALID_REQUEST, "Invalid Request", "a request is an object")
    if request.get("jsonrpc") != "2.0":
        raise Refused(INVALID_REQUEST, "Invalid Request", 'jsonrpc must be "2.0"')
    number = request.get("id")
    if isinstance(number, (bool, list, dict)):
        raise Refused(INVALID_REQUEST, "Invalid Request", "id must be a string, a number or null")
    method = request.get("method")
    if not isinstance(method, str):
        raise Refused(INVALID_REQUEST, "Invalid Request", "method must be a string")
    params = request.get("params")
    if "params" in request and not isinstance(params, (list, dict)):
        raise Refused(INVALID_REQUEST, "Invalid Request", "params must be an object or an array")
    if method not in METHODS:
        raise Refused(METHOD_NOT_FOUND, "Method not found")
    return method, arguments(method, params)


def failure(code: int, message: str, data: str) -> bytes:
    """A response to what has no id."""
    return to_json({"jsonrpc": "2.0", "error": Refused(code, message, data).error, "id": None})


def to_json(value: Any) -> bytes:
    """JSON on one line."""
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        # lone surrogates, integers beyond 64 bits
        return json.dumps(value, default=str).encode()


# HTTP


def is_loopback(authority: str) -> bool:
    """Whether the HOST or HOST:PORT of a Host header is this machine's own name for itself."""
    try:
        host = urlsplit(f"//{authority}").hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


@web.middleware
async def guard(request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
    """Refuse what other web sites make a browser ask: by a name of theirs (DNS rebinding), or from a page of theirs."""
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
        """JSON-RPC. A page of another site cannot send this content type without asking first, which is refused."""
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
        """Whether the process works."""
        works = self.calls.bridge.healthy
        return web.Response(status=200 if works else 503, text="ok\n" if works else "a receiving thread has ended\n")

    async def readyz(self, _request: web.Request) -> web.Response:
        """Whether it receives and every target is up."""
        reasons = not_ready(await self.calls.snapshot())
        return web.Response(status=503 if reasons else 200, text="\n".join([*reasons, ""]) if reasons else "ok\n")

    async def snapshot(self, _request: web.Request) -> web.Response:
        """What the page shows."""
        return web.Response(body=to_json(await self.calls.snapshot()), content_type="application/json")

    async def page(self, request: web.Request) -> web.Response:
        """A file of the page."""
        body, kind = self.files[request.path]
        return web.Response(body=body, content_type=kind, charset="utf-8")

    async def nothing(self, _request: web.Request) -> web.Response:
        """What browsers ask for and we have not."""
        return web.Response(status=204)


def not_ready(snapshot: Mapping[str, Any]) -> list[str]:
    """Why the bridge is not ready, empty when it is."""
    reasons = []
    if not snapshot["ready"]:
        reasons.append("the bridge is draining" if snapshot.get("draining") else "the bridge is starting")
    reasons += [f"{one['socket']}: {one['error'] or 'down'}" for one in snapshot["targets"] if not one["up"]]
    return reasons


# The unix socket


def bind_control(path: Path) -> socket.socket:
    """A listening unix socket of mode 0600; one that a bridge left behind is replaced.

    Raises ConfigError when another process answers there, for a file that is no socket, and for what the system says.
    """
    try:
        with suppress(FileNotFoundError):
            if not stat.S_ISSOCK(path.lstat().st_mode):
                raise ConfigError("control", f"{path} is there and no socket")
            if answers(path):
                raise ConfigError("control", f"another process answers at {path}")
            path.unlink()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(str(path))
            # nobody can connect before listen()
            path.chmod(0o600)
            listener.listen(MAX_CLIENTS)
            listener.setblocking(False)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        raise ConfigError("control", f"{path}: {error.strerror or error}") from error
    return listener


def answers(path: Path) -> bool:
    """Whether a process listens at a unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.setblocking(False)
        try:
            client.connect(str(path))
        except ConnectionRefusedError:
            return False
        except BlockingIOError:  # its queue of connections is full
            return True
    return True


class Control:
    """The bridge's control socket and HTTP server, in one thread; either may be None."""

    def __init__(self, bridge: Bridge, socket_path: Path | None, http: tuple[str, int] | None) -> None:
        """socket_path: of the unix socket; http: host and port, the host a loopback address."""
        self.calls = Calls(bridge)
        self.socket_path = socket_path
        self.http = http
        self.opened: Future[None] = Future()
        self.thread: threading.Thread | None = None
        self.clients: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Listen. Raises ConfigError, after which nothing runs."""
        if self.socket_path is None and self.http is None:
            return
        self.thread = threading.Thread(target=lambda: asyncio.run(self.serve()), name="pykafkaevt control", daemon=True)
        self.thread.start()
        try:
            self.opened.result()
        except Exception:
            self.thread.join()
            self.thread = None
            raise

    def stop(self) -> None:
        """Listen no more, and remove the socket's file. Again does nothing."""
        if self.thread is not None:
            with suppress(RuntimeError):  # the loop has ended
                self.loop.call_soon_threadsafe(self.ending.set)
            self.thread.join()
            self.thread = None
        self.calls.close()

    async def serve(self) -> None:
        """All that happens in the thread."""
        self.loop = asyncio.get_running_loop()
        self.ending = asyncio.Event()
        async with AsyncExitStack() as stack:
            try:
                if self.socket_path is not None:
                    await self.open_socket(self.socket_path, stack)
                if self.http is not None:
                    await self.open_http(self.http, stack)
            except Exception as error:
                self.opened.set_exception(error)
                return
            self.opened.set_result(None)
            await self.ending.wait()

    async def open_http(self, address: tuple[str, int], stack: AsyncExitStack) -> None:
        """Serve HTTP until the stack is unwound. Raises ConfigError."""
        host, port = address
        runner = web.AppRunner(Pages(self.calls).application(), access_log=None, shutdown_timeout=0.5)
        stack.push_async_callback(runner.cleanup)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise ConfigError("http", f"{host}:{port}: {os.strerror(error.errno) if error.errno else error}") from error

    async def open_socket(self, path: Path, stack: AsyncExitStack) -> None:
        """Serve the unix socket until the stack is unwound. Raises ConfigError."""
        listener = bind_control(path)
        made = path.stat()

        def remove() -> None:
            with suppress(OSError):
                if os.path.samestat(made, path.lstat()):
                    path.unlink()

        stack.callback(remove)
        server = await asyncio.start_unix_server(self.connected, sock=listener, limit=MAX_REQUEST)
        stack.push_async_callback(self.end_clients)
        stack.callback(server.close)

    async def end_clients(self) -> None:
        """Cut the connections of the unix socket."""
        for client in self.clients:
            client.cancel()
        await asyncio.gather(*self.clients, return_exceptions=True)

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A connection of the unix socket; one too many is closed."""
        if len(self.clients) >= MAX_CLIENTS:
            writer.close()
            return
        client = self.loop.create_task(self.converse(reader, writer))
        self.clients.add(client)
        client.add_done_callback(self.clients.discard)

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection, a line each, in their order."""
        try:
            while line := await reader.readline():
                answered = await self.calls.answer(line) if line.strip() else None
                if answered is not None:
                    writer.write(answered + b"\n")
                    await writer.drain()
        except ValueError:
            writer.write(failure(INVALID_REQUEST, "Invalid Request", f"more than {MAX_REQUEST} bytes") + b"\n")
        except ConnectionError:
            pass
        finally:
            writer.close()
