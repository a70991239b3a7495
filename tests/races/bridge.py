"""The subject of the bridge's cells: `pykafkaevt bridge` as a process; its dead letters go by its events' client."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from pykafkaevt import Closed
from tests.kafka.broker import free_ports
from tests.races.ledger import TOPIC, Writer
from tests.races.subjects import Subject
from tests.races.world import World

START_SECONDS = 30
DRAIN_SECONDS = 6
BEYOND_DRAIN = 3.0  # its last lines, and the interpreter's end
ANSWER_SECONDS = 15
BURST = 5
FIGURES = ("received", "queued", "delivered", "failed", "in_flight", "invalid")
BAD = b'{"jsonrpc":"2.0","method"'


class OneBridge(Subject):
    """The running bridge. bad: messages sent that are no events."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        (self.udp,) = free_ports(1, socket.SOCK_DGRAM)
        (self.tcp,) = free_ports(1)
        self.bad = 0
        self.reloads = 0
        self.ending = False
        self.signalling = threading.Lock()
        self.config = world.folder / "bridge.toml"
        self.log = world.folder / f"bridge-{time.monotonic_ns()}.log"
        self.write_config()
        command = (sys.executable, "-m", "pykafkaevt", "bridge", "--config", str(self.config), "--log-format", "json")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + START_SECONDS
        while not self.lines("ready"):
            alive = self.process.poll() is None and time.monotonic() < deadline
            assert alive, self.log.read_text()
            time.sleep(0.02)
        self.sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def lines(self, message: str) -> list[dict[str, Any]]:
        """The log's lines with that message."""
        found = []
        for line in self.log.read_text().splitlines():
            with suppress(ValueError):
                found.append(json.loads(line))
        return [line for line in found if line["message"] == message]

    def write_config(self) -> None:
        """Targets on a client that differs from the last configuration's."""
        more = f"&g.client.id=reload{self.reloads}"
        text = "\n".join(
            (
                f'input = ["udp://127.0.0.1:{self.udp}", "tcp://127.0.0.1:{self.tcp}"]',
                f'to = "{self.world.socket(TOPIC)}{more}"',
                f'dead_letter = "{self.world.socket("dead")}{more}"',
                f"drain = {DRAIN_SECONDS}",
            )
        )
        new = self.config.with_suffix(".new")
        new.write_text(text + "\n")
        new.replace(self.config)

    def retire(self) -> None:
        """SIGHUP, with targets on another client: nobody uses the one of before any more."""
        with self.signalling:
            if self.ending:
                raise Closed("the bridge is ending, and a SIGHUP may come after its handlers")
            self.reloads += 1
            self.write_config()
            self.process.send_signal(signal.SIGHUP)

    def close(self, timeout: float) -> int:
        """SIGTERM; AssertionError unless it ends within its drain."""
        return self.end(signal.SIGTERM, DRAIN_SECONDS + BEYOND_DRAIN)

    def end(self, number: signal.Signals, seconds: float) -> int:
        """Signal it and wait for its end."""
        self.terminate(number)
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # with PYTHONFAULTHANDLER it says where it stands
            self.process.wait()
            raise AssertionError(f"no end within {seconds} s of SIG{number.name}:\n{self.log.read_text()}") from None
        assert status in (0, 1), f"the bridge ended with {status}:\n{self.log.read_text()}"
        return status

    def terminate(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ask it to end."""
        with self.signalling:
            self.ending = True
            if self.process.poll() is None:
                self.process.send_signal(number)

    def events_by_udp(self, writer: Writer) -> None:
        """Send some events, at times something that is none."""
        for value in writer.next(BURST):
            self.sender.sendto(event(value), ("127.0.0.1", self.udp))
        if writer.made % (20 * BURST) == 0:
            self.sender.sendto(BAD, ("127.0.0.1", self.udp))
            self.bad += 1
        if self.process.poll() is not None:
            raise Closed("the bridge has ended")

    def events_by_tcp(self, writer: Writer) -> None:
        """Send requests over a new connection, and wait for the answer to each."""
        values = writer.next(BURST)
        try:
            with socket.create_connection(("127.0.0.1", self.tcp), ANSWER_SECONDS) as peer:
                peer.settimeout(ANSWER_SECONDS)
                peer.sendall(b"".join(event(value, value) for value in values))
                for answer in answers(peer, len(values)):
                    (self.account.bad if "error" in answer else self.account.ok).append(answer["id"])
        except TimeoutError:
            if self.process.poll() is None:
                raise AssertionError(f"a request has no answer within {ANSWER_SECONDS} s") from None
        except ConnectionError as error:
            raise Closed("the bridge does not listen") from error

    def finish(self, writer: Writer) -> None:
        if self.process.poll() is None and not self.world.may_be_closed:
            self.events_by_tcp(writer)
        self.close(DRAIN_SECONDS)
        self.sender.close()
        if "Traceback" in self.log.read_text():
            self.account.unexpected.append(self.log.read_text()[-4000:])

    def settle(self) -> None:
        (ended,) = self.lines("ended")
        self.account.counted = {name: ended[name] for name in FIGURES}
        self.account.bridge = True
        self.account.beside = self.bad
        # what no queue takes before the end counts as invalid: abandoned
        self.account.exact = not self.world.may_be_closed


def event(value: str, number: str | None = None) -> bytes:
    """A notification, or a request with an id."""
    told: dict[str, Any] = {"jsonrpc": "2.0", "method": "E", "params": {"n": value}}
    if number is not None:
        told["id"] = number
    return json.dumps(told).encode()


def answers(peer: socket.socket, count: int) -> list[dict[str, Any]]:
    """That many JSON objects; ConnectionError when the peer closes before."""
    decoder = json.JSONDecoder()
    text, found = "", []
    while len(found) < count:
        block = peer.recv(65536)
        if not block:
            raise ConnectionResetError("closed before the last answer")
        text += block.decode()
        while text:
            try:
                answer, end = decoder.raw_decode(text)
            except ValueError:
                break
            found.append(answer)
            text = text[end:].lstrip()
    return found
