"""fuzz.py SEED ROUNDS: random and mutated input for the sanitized modules; ends with 1 on a wrong answer.

Besides what the sanitizers watch, each answer is checked: an event is valid JSON, and only the documented
exceptions are raised.
"""

from __future__ import annotations

import json
import random
import struct
import sys
import time
from array import array

import orjson

from pykafkaevt import secrets as _secrets
from pykafkaevt import socket_text as _socket
from pykafkaevt.errors import SerializeError, SerializeTypeError, SocketError
from pykafkaevt.jsonrpc import scan as _json_scan
from pykafkaevt.jsonrpc import stream as _json_stream
from pykafkaevt.jsonrpc import template as _jsonrpc
from pykafkaevt.jsonrpc import values as _values
from pykafkaevt.sip import hep as _hep
from pykafkaevt.sip import hep_stream as _hep_stream
from pykafkaevt.sip import message as _sip

POLICIES = ["replace", "strict", "latin-1"]

TEXTS = [
    b"",
    b"sip:alice@atlanta.example.com;transport=udp",
    b'"Alice \\"A\\" Doe" <sip:alice@192.0.2.1:5060>;tag=1928301774',
    b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\n",
    "значение é€😀 \ud7ff\ue000\uffff\U0010ffff".encode(),
    b"\xc3\xa9" * 40,
    b"\xf0\x9f\x98\x80" * 9 + b"\xf0\x9f\x98",
    b"\xed\xa0\x80\xf4\x90\x80\x80\xc0\xaf\xff\xfe",
    bytes(range(256)),
    b'\\"\x00\x1f' * 20,
    b"x" * 5000,
]

SOCKETS = [
    b"kafka:127.0.0.1:9092/topic",
    b"kafka:h1:9092,h2,[::1]:9093/to.pic?g.linger.ms=5&t.acks=all&key=callid",
    b"kafka:embedded/t?g.sasl.password=p%26q%3d%%&g.ssl.key.pem=-----BEGIN%0a",
    b"[k1]127.0.0.1:9092/topic?g.linger.ms=5&g.compression.codec=lz4",
    b"[fe80::1%eth0]:9092 , 10.0.0.1:65535/" + b"t" * 249,
    "kafka:хост:9092/тема?g.a=é".encode(),
]

MESSAGES = [
    b"INVITE sip:bob@biloxi.com SIP/2.0\r\nVia: SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bK776asdhds\r\n"
    b"To: Bob <sip:bob@biloxi.com>\r\nFrom: Alice <sip:alice@atlanta.com>;tag=1928301774\r\n"
    b"Call-ID: a84b4c76e66710@pc33.atlanta.com\r\nCSeq: 314159 INVITE\r\nUser-Agent: Softphone Beta1.5\r\n"
    b"Content-Length: 4\r\n\r\nv=0\n",
    b"SIP/2.0 200 OK\r\nv: SIP/2.0/UDP h\r\nf: \"A \\\" <x>\" <sip:a@b;p=1>;tag=1\r\nt: sip:b@c;tag=2\r\n"
    b"i :\r\n folded@id\r\n\tmore\r\ncseq: 1\r\n ACK\r\ns:\r\n\r\n",
    b"OPTIONS sip:a SIP/2.0\nCALL-id:x\nCSeq:\n\n",
    b"CALL-ID\r\ni:\r\ni\r\n\r\n",
]  # fmt: skip

EVENTS = [
    b'{"jsonrpc":"2.0","method":"E_SIP","params":{"method":"INVITE","callid":"a84b4c76e66710@pc33","time":17}}',
    rb'{"method":"E\u005f","id":[1,{"a":null}],"params":{"call\u0069d":"\ud83d\ude00\ud800\"\n","time":-1.5e+30}} ',
    '\t{"params":[true,false],"method":"событие é€😀 и ещё один длинный текст"}\r\n'.encode(),
    b'{"method":"E","params":' + b'{"a":[' * 63 + b"0" + b"]}" * 63 + b"}",
    b'{"a":{}}\n{"b":"}{"}{}\ngarbage\n{"c":[]}',
]


def chunks(*given: tuple[int, bytes]) -> bytes:
    """HEPv3 chunks of (type, content)."""
    return b"".join(struct.pack(">HHH", 0, kind, 6 + len(content)) + content for kind, content in given)


ADDRESSED = chunks(
    *((1, b"\x02"), (2, b"\x11"), (3, b"\x7f\0\0\1"), (4, b"\x7f\0\0\2"), (7, b"\x13\xc4"), (8, b"\x13\xc5")),
    *((9, b"\x6a\xb0\0\0"), (10, b"\0\1\0\0"), (12, b"\0\0\0\7"), (14, b"secret"), (17, b"id"), (19, b"node")),
)
PACKETS = [
    *(ADDRESSED + chunks((11, b"\x01"), (15, message)) for message in MESSAGES),
    chunks((1, b"\x0a"), (5, bytes(range(16))), (6, bytes(16)), (11, b"\x05"), (15, b'{"a":[1,"x"]}')),
    chunks((11, b"\x64"), (15, b"a log line \xff\0")),
]

TELLING = [
    *(b"%c" % byte for byte in b'\0\t\n\r "%&,/:;<=>?@[\\]\x7f\x80\xa0\xbf\xc3\xe2\xed\xf0\xf4\xff'),
    b"\r\n",
    b"\r\n ",
    b"%0",
    b"%00",
    b"kafka:",
    b"Call-ID:",
    b"\r\ni:",
    b"key=callid",
    b"{",
    b"}",
    b'{"a":',
    b"\\u",
    b"\\ud83d",
    b'"callid":',
    "é".encode(),
    "😀".encode(),
]

LONG = "x" * 180_000
EDGES = [sign * 2**bits + step for sign in (1, -1) for bits in (31, 32, 63, 64) for step in (-1, 0, 1)]


Splitter = _json_stream.Splitter | _hep_stream.HepSplitter


class Input:
    """Random values, all from one seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def octets(self, texts: list[bytes]) -> bytes:
        """One of the texts with some mutations, or random bytes."""
        r = self.random
        if r.random() < 0.1:
            return r.randbytes(r.randrange(100))
        text = bytearray(r.choice(texts))
        for _ in range(r.choice((0, 1, 1, 2, 3, 8))):
            at = r.randrange(len(text) + 1)
            kind = r.randrange(5)
            if kind == 0:
                text[at:at] = r.choice(TELLING)
            elif kind == 1:
                text[at : at + 1] = bytes((r.randrange(256),))
            elif kind == 2:
                del text[at : at + r.choice((1, 2, 10, 100))]
            elif kind == 3:
                text[at:at] = text[r.randrange(len(text) + 1) :][: r.randrange(40)] * r.randrange(4)
            else:
                text[at:] = r.choice(texts)[-r.randrange(1, 60) :]
        return bytes(text)

    def text(self, texts: list[bytes]) -> str:
        """As octets(), as a str that may hold lone surrogates."""
        how = self.random.choice((("utf-8", "surrogateescape"), ("utf-8", "replace"), ("latin-1", "strict")))
        return self.octets(texts).decode(*how)

    def number(self) -> int | float:
        r = self.random
        size = 1 << r.choice((1, 7, 31, 63, 64, 200))
        return r.choice(
            (r.choice(EDGES), r.randrange(-size, size + 1), r.uniform(-size, size), r.randrange(10**9) / 1000)
        )

    def value(self, depth: int = 0) -> object:
        """A value of any kind, nested up to six deep; rarely one that is refused."""
        r = self.random
        kind = r.randrange(13 if depth < 6 else 9)
        if kind < 3:
            return self.text(TEXTS)
        if kind < 5:
            return r.choice((bytes, bytearray, memoryview))(self.octets(TEXTS))
        if kind < 7:
            return self.number()
        if kind == 7:
            return r.choice((None, True, False, float("nan"), _values.RawJSON(b'{"a": [1, 2]}')))
        if kind == 8:
            return r.choice((_values.SKIP, _values.SKIP, None, 1, object()))
        if kind == 9:
            return {self.text(TEXTS): self.value(depth + 1) for _ in range(r.randrange(4))}
        if kind == 10:
            return tuple(self.value(depth + 1) for _ in range(r.randrange(4)))
        if kind == 11 and r.random() < 0.1:
            value: object = self.octets(TEXTS)
            for _ in range(r.randrange(300)):
                value = [value]
            return value
        return [self.value(depth + 1) for _ in range(r.randrange(4))]


def exactly(data: bytes) -> array[int]:
    """The data in memory that ends with it (as that of a slice does): one byte too many is seen."""
    return array("B", data)[:]


def check_json(text: bytes) -> None:
    if orjson.loads(text)["jsonrpc"] != "2.0":
        raise AssertionError(text)


def fuzz_dumps(given: Input) -> None:
    r = given.random
    names = [given.text(TEXTS) for _ in range(r.randrange(6))]
    values = [given.value() for _ in names]
    method = given.text(TEXTS)
    policy = r.choice(POLICIES)
    try:
        check_json(_jsonrpc.dumps(method, values, invalid=policy))
        check_json(_jsonrpc.dumps(method, dict(zip(names, values, strict=True)), invalid=policy))
        check_json(_jsonrpc.dumps(method, params_pairs=zip(names, values, strict=True), invalid=policy))
    except (SerializeError, SerializeTypeError):
        pass


def fuzz_template(given: Input) -> None:
    r = given.random
    try:
        template = _jsonrpc.EventTemplate(
            given.text(TEXTS), [given.text(TEXTS) for _ in range(r.randrange(6))], invalid=r.choice(POLICIES)
        )
    except SerializeError:
        return
    for _ in range(4):
        values = [given.value() for _ in range(len(template.fields) + (r.random() < 0.02))]
        try:
            event = template.dumps(*values)
        except (SerializeError, SerializeTypeError):
            continue
        check_json(event)
        offset = r.randrange(20)
        target = exactly(bytes(max(0, len(event) + offset + r.choice((-1, 0, 0, 1)))))
        try:
            size = template.dumps_into(target, *values, offset=offset)
        except BufferError:
            if len(target) - offset >= len(event):
                raise
        else:
            if bytes(target[offset : offset + size]) != event:
                raise AssertionError(event)


def fuzz_longest_escapes(given: Input) -> None:
    """Text whose escapes need the most room, in a buffer that has no more than was asked for."""
    r = given.random
    if r.random() < 0.8:
        return
    # an event that asks for more than 1 MiB makes the next one start with a new buffer
    _jsonrpc.dumps("E", [LONG])
    text = r.choice(("\x01", '"', "ÿ", "\uffff", "\U0010ffff", "\udcff")) * r.randrange(600, 3000)
    text += r.choice(("", "", "", "é", "€", "😀"))
    value = r.choice((text, text, text.encode("utf-8", "surrogateescape"), [text, b""]))
    policy = r.choice(("replace", "latin-1"))
    if r.random() < 0.5:
        check_json(_jsonrpc.dumps("E", [value], invalid=policy))
    else:
        check_json(_jsonrpc.EventTemplate("E", ["f"], invalid=policy).dumps(value))


def fuzz_raw_json(given: Input) -> None:
    data = given.octets([b'{"a": [1, 2.5e3, "x\\u00e9"], "b": null}', b'"text"', *TEXTS])
    try:
        raw = _values.RawJSON(data)
    except SerializeError:
        return
    check_json(_jsonrpc.dumps("E", [raw, {"a": [raw, b""]}]))


def fuzz_socket(given: Input) -> None:
    text = given.text(SOCKETS)
    for parse in (_socket.parse, _socket.parse_broker_id):
        try:
            parse(text)
        except SocketError as error:
            if not 0 <= error.position <= len(text) or not str(error):
                raise AssertionError(text) from error
    _secrets.is_secret(text)


def fuzz_sip(given: Input) -> None:
    message = given.octets(MESSAGES)
    for read in (_sip.call_id, _sip.headers):
        found = {repr(read(message)), repr(read(memoryview(exactly(message))))}
        answer = repr(read(message.decode("utf-8", "surrogateescape")))
        # a str's lone surrogates are three bytes that are no UTF-8
        if message.decode("utf-8", "ignore").encode() == message:
            found.add(answer)
        if len(found) != 1:
            raise AssertionError(message, found)


def is_object(data: bytes) -> bool:
    """Whether Python's json reads an object, without its extensions and its limits on numbers."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        return isinstance(json.loads(data.decode(), parse_int=str, parse_float=str, parse_constant=refuse), dict)
    except (ValueError, RecursionError):
        return False


def fuzz_json_scan(given: Input) -> None:
    data = given.octets(EVENTS)
    source = memoryview(exactly(data))
    for plain in (False, True):
        try:
            _json_scan.scan_event(source, key_fields=("callid", "a", ""), time_field="time", plain=plain)
            reason = "ok"
        except ValueError as error:
            reason = str(error)
        if reason != "too_deep" and (reason in {"ok", "no_method", "bad_method"}) != is_object(data):
            raise AssertionError(data, reason)


def cut_anywhere(r: random.Random, data: bytes, whole: Splitter, cut: Splitter, longest: int) -> None:
    """A stream gives the same, however it is cut."""
    expected = whole.feed(data) + whole.finish()
    found = []
    at = 0
    while at < len(data):
        size = r.randrange(1, longest)
        found += cut.feed(data[at : at + size])
        at += size
    if found + cut.finish() != expected:
        raise AssertionError(data)


def fuzz_splitter(given: Input) -> None:
    r = given.random
    data = b"\n".join(given.octets(EVENTS) for _ in range(r.randrange(4)))
    limit = r.choice((2, 50, 1000))
    cut_anywhere(r, data, _json_stream.Splitter(limit), _json_stream.Splitter(limit), 60)


def packet_of(given: Input) -> bytes:
    """A packet of mutated chunks, mostly with the length it has."""
    body = given.octets(PACKETS)
    size = 6 + len(body) if given.random.random() < 0.9 else given.random.randrange(65536)
    return b"HEP3" + struct.pack(">H", min(size, 65535)) + body


def fuzz_hep(given: Input) -> None:
    data = packet_of(given)
    try:
        text = _hep.hep_to_event(memoryview(exactly(data)), raw=given.random.random() < 0.5)
    except ValueError:
        return
    check_json(text)
    if b"secret" in text and b"secret" not in data.replace(chunks((14, b"secret")), b""):
        raise AssertionError(data)


def fuzz_hep_splitter(given: Input) -> None:
    r = given.random
    data = b"".join(r.choice((packet_of(given), given.octets(MESSAGES))) for _ in range(r.randrange(4)))
    limit = r.choice((6, 100, 65535))
    cut_anywhere(r, data, _hep_stream.HepSplitter(limit), _hep_stream.HepSplitter(limit), 200)


TARGETS = [
    *(
        fuzz_dumps,
        fuzz_template,
        fuzz_longest_escapes,
        fuzz_raw_json,
        fuzz_socket,
        fuzz_sip,
        fuzz_json_scan,
        fuzz_splitter,
    ),
    *(fuzz_hep, fuzz_hep_splitter),
]


def main(seed: int, rounds: int) -> None:
    for module in (_hep, _hep_stream, _json_scan, _json_stream, _jsonrpc, _values, _secrets, _sip, _socket):
        if "sanitize" not in str(module.__file__):
            raise SystemExit(f"{module.__file__} is no sanitized module: run tests/sanitize/run.sh")
    given = Input(seed)
    start = time.monotonic()
    for number in range(rounds):
        for target in TARGETS:
            try:
                target(given)
            except Exception as error:
                what = f"{type(error).__name__}: {error}"[:2000]
                raise SystemExit(f"fuzz: round {number}, {target.__name__}: {what}") from error
    print(f"fuzz: {rounds} rounds of {len(TARGETS)} targets passed in {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
