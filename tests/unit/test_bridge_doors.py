"""A real bridge whose doors are pushed at all at once: it stays small, answers, and loses no event."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

PATIENCE = 20  # seconds for what takes less than one
DESCRIPTORS = 1024
LIMITED = f'ulimit -Sn {DESCRIPTORS // 2} && ulimit -Hn {DESCRIPTORS} && exec "$@"'
LINUX = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="platform: needs /proc")


def free_port(kind):
    with socket.socket(socket.AF_INET, kind) as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Doors:
    """The bridge's process and its addresses."""

    def __init__(self, folder):
        self.udp, self.tcp, self.http = (free_port(kind) for kind in (2, 1, 1))
        self.control = str(folder / "control")
        self.log = folder / "log"
        urls = [f"udp://127.0.0.1:{self.udp}", f"tcp://127.0.0.1:{self.tcp}"]
        command = [*urls, "--control", self.control, "--http", f"127.0.0.1:{self.http}", "--drain", "1"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["sh", "-c", LIMITED, "sh", sys.executable, "-m", "pykafkaevt", "bridge", *command],
                stderr=log,
            )

    def ask(self, method, params=None):
        """The response of the control socket; it must come within a second."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1)
            client.connect(str(self.control))
            client.sendall(json.dumps({"jsonrpc": "2.0", "method": method, "params": params or [], "id": 1}).encode())
            client.shutdown(socket.SHUT_WR)
            with client.makefile("rb") as stream:
                return json.loads(stream.read())

    def connect_http(self):
        return socket.create_connection(("127.0.0.1", self.http), PATIENCE)

    def memory(self):
        """MB."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)

    def threads(self):
        return len(os.listdir(f"/proc/{self.process.pid}/task"))

    def __enter__(self):
        """Wait until it is ready."""
        deadline = time.monotonic() + PATIENCE
        while True:
            with suppress(OSError):
                if self.ask("kafka_stats")["result"]["ready"]:
                    return self
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def doors(tmp_path):
    with Doors(tmp_path) as one:
        yield one


def send_bad_requests(doors, count):
    for _ in range(count):
        with doors.connect_http() as client, suppress(ConnectionError):
            client.sendall(b"\x16\x03\x01 bad\r\n\r\n")
            client.recv(1000)


def send_a_great_batch(doors):
    body = json.dumps([1] * 22_000).encode()
    head = b"POST /mi HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
    with doors.connect_http() as client:
        client.sendall(b"%sContent-Length: %d\r\n\r\n%s" % (head, len(body), body))
        with client.makefile("rb") as stream:
            assert len(stream.read()) < 1000


def subscribe(doors, count):
    """How many of so many subscriptions to clusters that are not there are made."""
    return sum("result" in doors.ask("event_subscribe", ["E", f"kafka:127.0.0.1:{n}/t"]) for n in range(1, count + 1))


@LINUX
def test_all_at_once_costs_little_and_events_go_on(doors):
    memory, threads = doors.memory(), doors.threads()
    send_bad_requests(doors, 500)
    send_a_great_batch(doors)
    with ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(doors.connect_http()).sendall(b"GET / HT")
        assert subscribe(doors, 300) == 16
        for _ in range(1100):
            stack.enter_context(socket.create_connection(("127.0.0.1", doors.tcp), PATIENCE))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(1000):
                sender.sendto(b'{"jsonrpc":"2.0","method":"E"}', ("127.0.0.1", doors.udp))
        deadline = time.monotonic() + PATIENCE
        while True:
            received = doors.ask("kafka_stats")["result"]["inputs"][0]
            if received["queued"] == 1000:
                break
            assert time.monotonic() < deadline, received
        assert received["kernel_drops"] == 0
        assert len(os.listdir(f"/proc/{doors.process.pid}/fd")) < DESCRIPTORS
        assert doors.memory() - memory < 50
        # each of the 16 clients has some of librdkafka's and one of ours
        assert doors.threads() - threads <= 16 * 6
    assert doors.log.stat().st_size < 100_000
    assert "Traceback" not in doors.log.read_text()
    doors.process.send_signal(signal.SIGTERM)
    doors.process.wait(PATIENCE)
    assert "delivered=1000" in doors.log.read_text()
