"""The sockets of datagram inputs."""

from __future__ import annotations

import logging
import os
import socket
import stat
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from pykafkaevt.bridge.inputs import Input
from pykafkaevt.errors import ConfigError

logger = logging.getLogger("pykafkaevt.bridge")

RECEIVE_US: Final = 100_000  # microseconds that stopping may take to be seen
# Linux's numbers; Python's socket module has no names for them
SO_RCVBUFFORCE: Final = 33
SO_RXQ_OVFL: Final = 40
UNIX_MODE: Final = 0o660


def open_sockets(source: Input, workers: int, receive_buffer: int) -> list[socket.socket]:
    """The bound sockets of a udp, hep or unix input, one for each worker (a unix socket has one: its
    workers would share a queue, and a sender's events change their order).

    receive_buffer: bytes for each. Raises ConfigError naming the URL.
    """
    opened: list[socket.socket] = []
    try:
        if source.scheme == "unix":
            assert source.path is not None
            remove_stale(source.path)
            one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            opened.append(one)
            bind_path(one, source.path, UNIX_MODE)
        else:
            family, _, _, _, address = socket.getaddrinfo(
                source.host, source.port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE
            )[0]
            for number in range(workers):
                one = socket.socket(family, socket.SOCK_DGRAM)
                opened.append(one)
                if number > 0:
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                one.bind(address)
                # the first is bound without: another process that shares its ports would get some of the messages
                if number == 0 and workers > 1:
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        for one in opened:
            prepare(one, source, receive_buffer)
    except OSError as error:
        for one in opened:
            one.close()
        raise ConfigError(source.url, error.strerror or str(error)) from error
    return opened


def bind_path(one: socket.socket, path: Path, mode: int) -> None:
    """Bind a unix socket; its file has the mode from the first moment. Raises OSError.

    A chmod() of the path afterwards could be led to another file by who may write to the folder.
    """
    # Linux takes the file's mode from the socket's own; the umask, which belongs to all threads, would take bits away
    os.fchmod(one.fileno(), mode)
    before = os.umask(0o777 & ~mode)
    try:
        one.bind(str(path))
    finally:
        os.umask(before)


def remove_stale(path: Path) -> None:
    """Remove a socket that nobody listens on any more. Raises OSError when somebody does."""
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.stat().st_mode):
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe, suppress(ConnectionRefusedError):
            probe.connect(str(path))
            return
        path.unlink()


def removal(path: Path) -> Callable[[], None]:
    """A callable that removes the socket that is at the path now, unless another is there by then. Raises OSError."""
    # as long as the socket is open, no other file can have its inode
    ours = path.lstat()

    def remove() -> None:
        with suppress(OSError):
            if os.path.samestat(ours, path.lstat()):
                path.unlink()

    return remove


def prepare(one: socket.socket, source: Input, receive_buffer: int) -> None:
    """The receive buffer, the timeout and the count of the kernel's drops."""
    try:
        # beyond net.core.rmem_max only with CAP_NET_ADMIN
        one.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, receive_buffer)
    except PermissionError:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    # the kernel doubles what it is asked for
    got = one.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
    if got < receive_buffer and source.scheme != "unix":
        logger.warning(
            "%s: the receive buffer is %d bytes, not %d: raise it with sysctl net.core.rmem_max=%d",
            source.url,
            got,
            receive_buffer,
            receive_buffer,
        )
    one.setsockopt(socket.SOL_SOCKET, SO_RXQ_OVFL, 1)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, RECEIVE_US))
