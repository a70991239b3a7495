"""The thread that lets a running bridge be controlled and seen, by a unix socket and by HTTP."""

from __future__ import annotations

import asyncio
import socket
import stat
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Final

from pykafkaevt.bridge.accepting import say_trouble_rarely
from pykafkaevt.bridge.datagrams import bind_path, removal
from pykafkaevt.bridge.http import Pages, serving
from pykafkaevt.bridge.http_token import read_token
from pykafkaevt.bridge.mi import INVALID_REQUEST, MAX_REQUEST, Bridge, Calls, failure
from pykafkaevt.errors import ConfigError

THREADS: Final = "pykafkaevt control"  # how the names of all its threads begin
MAX_CLIENTS: Final = 256  # of the control socket at one time
STARTING: Final = 10.0  # seconds that listening may take to begin
ENDING: Final = 1.0  # seconds that the thread may take to end


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
            bind_path(listener, path, 0o600)
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

    def __init__(
        self,
        bridge: Bridge,
        socket_path: Path | None,
        http: tuple[str, int] | None,
        http_token: Path | None = None,
    ) -> None:
        """socket_path: of the unix socket; http: host and port, the host a loopback address; http_token: of the file.

        Raises ConfigError for a token that cannot be used.
        """
        self.token = None if http_token is None else read_token(http_token)
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
        self.thread = threading.Thread(target=lambda: asyncio.run(self.serve()), name=THREADS, daemon=True)
        self.thread.start()
        try:
            self.opened.result(STARTING)
        except FutureTimeout:
            raise ConfigError("control", f"listening did not begin within {STARTING:g} s") from None
        except Exception:
            self.thread.join(ENDING)
            self.thread = None
            raise

    def stop(self, timeout: float = ENDING) -> None:
        """Listen no more, and remove the socket's file, within `timeout` seconds. Again does nothing."""
        if self.thread is not None:
            with suppress(RuntimeError):  # the loop has ended
                self.loop.call_soon_threadsafe(self.ending.set)
            self.thread.join(timeout)
            self.thread = None
        self.calls.close()

    def threads(self) -> list[threading.Thread]:
        """Its threads that run, those of calls too."""
        return [one for one in threading.enumerate() if one.name.startswith(THREADS)]

    async def serve(self) -> None:
        """All that happens in the thread."""
        self.loop = asyncio.get_running_loop()
        say_trouble_rarely(self.loop)
        self.ending = asyncio.Event()
        async with AsyncExitStack() as stack:
            try:
                if self.socket_path is not None:
                    await self.open_socket(self.socket_path, stack)
                if self.http is not None:
                    await stack.enter_async_context(serving(Pages(self.calls, self.token), *self.http))
            except Exception as error:
                self.opened.set_exception(error)
                return
            self.opened.set_result(None)
            await self.ending.wait()

    async def open_socket(self, path: Path, stack: AsyncExitStack) -> None:
        """Serve the unix socket until the stack is unwound. Raises ConfigError."""
        listener = bind_control(path)
        stack.callback(removal(path))
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
