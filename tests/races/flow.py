"""Numbered events by UDP, TCP (as requests) and HEP at a steady rate, from a process of its own."""

import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from pykafkaevt.jsonrpc.stream import Splitter

# of the events, by the letter that their values begin with; an invalid message's value begins with the capital one
SHARES = {"u": 0.6, "h": 0.25, "t": 0.15}
INVALID_EVERY = 500  # messages of an input
TURN_SECONDS = 0.004
LATE_SECONDS = 0.1  # more than this is not caught up: a burst would only overflow the receive buffer
CONNECTIONS = 2
ENDING_SECONDS = 60

EVENT = '{"jsonrpc":"2.0","method":"E_CALL","params":{"n":"%s","caller":"sip:a@example.org","code":200}%s}'
NO_METHOD = '{"jsonrpc":"2.0","params":{"n":"%s"}%s}'
SIP = (
    "INVITE sip:b@example.org SIP/2.0\r\nFrom: <sip:a@example.org>;tag=1\r\nTo: <sip:b@example.org>\r\n"
    "Call-ID: %s\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
)


@dataclass
class Sent:
    """What one process sent: messages by the letter of their values, from 0 on each, and the seconds it took."""

    messages: dict[str, int]
    seconds: float


@dataclass
class Answers:
    """The answers to the requests: the values of those that are OK, the error's text by the value of the others."""

    ok: list[str] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)


def chunk(kind: int, body: bytes) -> bytes:
    """A chunk of HEPv3."""
    return struct.pack("!HHH", 0, kind, 6 + len(body)) + body


def message(letter: str, value: str) -> bytes:
    """The event of that value, or the invalid message."""
    if letter == "h":
        body = chunk(0x000B, b"\x01") + chunk(0x000F, (SIP % value).encode())
        return b"HEP3" + struct.pack("!H", 6 + len(body)) + body
    more = f',"id":"{value}"' if letter in "tT" else ""
    return ((EVENT if letter in "ut" else NO_METHOD) % (value, more)).encode()


class Numbers:
    """Makes the messages of one input. made: how many by letter."""

    def __init__(self, letter: str) -> None:
        self.made = {letter: 0, letter.upper(): 0}
        self.letter = letter
        self.until_invalid = INVALID_EVERY

    def next(self) -> bytes:
        """One more."""
        letter = self.letter
        self.until_invalid -= 1
        if not self.until_invalid:
            self.until_invalid = INVALID_EVERY
            letter = letter.upper()
        number = self.made[letter]
        self.made[letter] = number + 1
        return message(letter, f"{letter}.{number}")


def pace(rate: float, over: threading.Event, send: Callable[[int], None]) -> None:
    """Call send(how many are due) until it is over, so that `rate` a second are."""
    started = time.monotonic()
    done = 0
    while not over.is_set():
        due = int((time.monotonic() - started) * rate) - done
        done += due
        if due:
            send(min(due, int(LATE_SECONDS * rate) or 1))
        time.sleep(TURN_SECONDS)


def send_datagrams(port: int, numbers: Numbers, rate: float, over: threading.Event) -> None:
    """The thread of UDP, or of HEP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(("127.0.0.1", port))

        def send(count: int) -> None:
            for _ in range(count):
                sender.send(numbers.next())

        pace(rate, over, send)


def read_answers(peer: socket.socket, answers: Answers, wrong: list[str]) -> None:
    """The thread of a connection, to its end."""
    splitter = Splitter(1 << 16)
    try:
        while block := peer.recv(1 << 16):
            for text, reason in splitter.feed(block):
                if reason is not None:
                    wrong.append(f"no answer: {text!r} ({reason})")
                    continue
                answer = json.loads(text)
                if "error" in answer:
                    answers.errors[answer["id"]] = answer["error"]["message"]
                else:
                    answers.ok.append(answer["id"])
    except ConnectionResetError:
        pass  # the end of a connection of which not all was read
    except OSError as error:
        wrong.append(f"a connection failed: {error}")


def send_requests(peers: list[socket.socket], numbers: Numbers, rate: float, over: threading.Event) -> None:
    """The thread that sends over all connections; the bridge reads no more when too many answers wait."""

    def send(count: int) -> None:
        for number, peer in enumerate(peers):
            peer.sendall(b"".join(numbers.next() for _ in range(number, count, len(peers))))

    pace(rate, over, send)


def run(udp: int, hep: int, tcp: int, rate: float, parent: Connection) -> None:
    """The process: sends until its parent says anything, or has ended.

    Tells it that it begins, what it Sent, at the bridge's end the Answers and what is wrong.
    """
    over = threading.Event()
    numbers = {letter: Numbers(letter) for letter in SHARES}
    answers = [Answers() for _ in range(CONNECTIONS)]
    wrong: list[str] = []
    peers = [socket.create_connection(("127.0.0.1", tcp)) for _ in answers]
    readers = [
        threading.Thread(target=read_answers, args=(*pair, wrong), daemon=True)
        for pair in zip(peers, answers, strict=True)
    ]
    senders = [
        threading.Thread(target=send_datagrams, args=(udp, numbers["u"], rate * SHARES["u"], over)),
        threading.Thread(target=send_datagrams, args=(hep, numbers["h"], rate * SHARES["h"], over)),
        threading.Thread(target=send_requests, args=(peers, numbers["t"], rate * SHARES["t"], over), daemon=True),
    ]
    parent.send(None)
    started = time.monotonic()
    for thread in readers + senders:
        thread.start()
    parent.poll(None)
    over.set()
    for thread in senders:
        thread.join(ENDING_SECONDS)
        if thread.is_alive():
            wrong.append("the bridge reads no requests any more")
    made = {letter: count for one in numbers.values() for letter, count in one.made.items()}
    parent.send(Sent(made, time.monotonic() - started))
    for reader in readers:
        reader.join(ENDING_SECONDS)
        if reader.is_alive():
            wrong.append("a connection is still open")
    for one in answers[1:]:
        answers[0].ok += one.ok
        answers[0].errors |= one.errors
    parent.send((answers[0], wrong))
