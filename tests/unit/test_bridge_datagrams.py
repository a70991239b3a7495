"""The sockets of datagram inputs: nobody shares their ports, and a path is removed only while it is theirs."""

import socket
from contextlib import ExitStack

import pytest

from pykafkaevt.bridge.config import parse_input
from pykafkaevt.bridge.datagrams import open_sockets, removal
from pykafkaevt.bridge.receivers import Receivers
from pykafkaevt.errors import ConfigError


def bound(host, shared, kind=socket.AF_INET):
    """A UDP socket as another process has it."""
    one = socket.socket(kind, socket.SOCK_DGRAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
    one.bind((host, 0))
    return one


@pytest.mark.parametrize("workers", [1, 2, 8])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("host", "theirs"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1")])
@pytest.mark.parametrize("scheme", ["udp", "hep"])
def test_a_port_of_another_process_is_not_shared(scheme, host, theirs, shared, workers):
    with bound(theirs, shared) as other:
        url = f"{scheme}://{host}:{other.getsockname()[1]}"
        with pytest.raises(ConfigError) as caught:
            open_sockets(parse_input(url), workers, 65536)
    assert str(caught.value) == f"{url}: Address already in use"


@pytest.mark.parametrize(("host", "kind"), [("127.0.0.1", socket.AF_INET), ("[::1]", socket.AF_INET6)])
def test_workers_share_their_own_port_and_each_sender_keeps_one(host, kind):
    with bound(host.strip("[]"), False, kind) as free:
        port = free.getsockname()[1]
    with ExitStack() as stack:
        workers = [stack.enter_context(one) for one in open_sockets(parse_input(f"udp://{host}:{port}"), 4, 65536)]
        assert len({one.getsockname() for one in workers}) == 1
        for one in workers:
            one.setblocking(False)
        got = []
        for _ in range(200):
            with socket.socket(kind, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"1", (host.strip("[]"), port))
                sender.sendto(b"2", (host.strip("[]"), port))
        for one in workers:
            received = []
            while True:
                try:
                    received.append(one.recvfrom(10))
                except BlockingIOError:
                    break
            got.append(received)
        assert sum(map(len, got)) == 400
        assert all(got), "every worker gets senders"
        for received in got:
            assert [text for text, _ in received] == [b"1", b"2"] * (len(received) // 2)


def test_a_path_is_removed_while_it_is_ours(tmp_path):
    path = tmp_path / "s"
    (one,) = open_sockets(parse_input(f"unix:{path}"), 1, 65536)
    with one:
        remove = removal(path)
        remove()
        assert not path.exists()
        remove()
        path.touch()
        remove()
        assert path.exists()


def test_the_path_of_a_bridge_that_came_after_is_left(tmp_path):
    path = tmp_path / "s"
    source = parse_input(f"unix:{path}")

    class Config:
        inputs = (source,)
        workers = 1
        receive_buffer = 65536

    class Ingest:
        url = source.url
        progress = None

    with ExitStack() as stack:
        Receivers(Config, lambda *_: Ingest, lambda: None, stack)
        path.unlink()
        (later,) = open_sockets(source, 1, 65536)
    with later, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", str(path))
        assert later.recv(10) == b"x"


def test_a_live_path_is_not_replaced(tmp_path):
    source = parse_input(f"unix:{tmp_path / 's'}")
    (first,) = open_sockets(source, 1, 65536)
    with first, pytest.raises(ConfigError, match="Address already in use"):
        open_sockets(source, 1, 65536)
