"""Any bytes to the bridge's datagram inputs: it lives on, and counts every datagram exactly once.

PYKAFKAEVT_TEST_DATAGRAMS: how many are sent, half of them to each input; 100,000 without it.
"""

import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import time

import pytest

DATAGRAMS = int(os.environ.get("PYKAFKAEVT_TEST_DATAGRAMS", "100000"))
PATIENCE = 30.0  # seconds
WINDOW = 500  # datagrams sent until the bridge is asked whether they arrived
UDP_SIZE = 65507  # bytes of a datagram at most

EVENTS = [
    b'{"jsonrpc":"2.0","method":"E_SIP","params":{"method":"INVITE","callid":"f2a74de452e6b438@10.1.2.3","cseq":1}}',
    b'{"jsonrpc":"2.0","method":"E_ACC_CDR","params":{"call_id":"a b","duration":12.5e-3,"x":[1,{"y":null}],"t":true}}',
    b'{"id":7,"jsonrpc":"2.0","method":"E_\\u00e9\\"","params":{"Call-ID":"\\ud83d\\ude00\\n","k":-0}}',
    ' {"method" : "E_ж" , "params" : {"callid" : "звонок-1€😀"} }\r\n'.encode(),
    b'{"jsonrpc":"2.0","method":"E_PIKE","params":["192.168.2.11",null,[]]}',
    b'{"method":"E_LONG","params":{"callid":' + b"9" * 300 + b',"text":"' + b"x" * 3000 + b'"}}',
    b'{"method":"E_DEEP","params":' + b"[" * 100 + b"]" * 100 + b"}",
]
JSON_PARTS = [
    *(b"%c" % byte for byte in b'\0\t\n\r "+,-.0:[\\]eu{}\x7f\x80\xc0\xe2\xed\xf4\xff'),
    b"\\u",
    b"\\ud800",
    b'"method":',
    b'"callid":',
    b'"params":{',
    b"[" * 200,
    b"1e999",
    b"\xed\xa0\x80",
    "😀".encode(),
]

INVITE = (
    b"INVITE sip:bob@b.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bK776\r\n"
    b'To: Bob <sip:bob@b.example>\r\nFrom: "A \\" <x>" <sip:alice@a.example>;tag=19283\r\n'
    b"Call-ID: a84b4c76e66710@pc33\r\nCSeq: 314159 INVITE\r\nUser-Agent: Softphone\r\nContent-Length: 4\r\n\r\nv=0\n"
)
RINGING = (
    b"SIP/2.0 180 Ringing\r\nf: <sip:a@b>;tag=1\r\nt: sip:b@c\r\n"
    b"i:\r\n folded@id\r\n\tmore\r\ncseq: 1\r\n INVITE\r\n\r\n"
)


def chunk(kind, data, vendor=0):
    return struct.pack(">HHH", vendor, kind, 6 + len(data)) + data


def hep(*chunks):
    body = b"".join(chunks)
    return b"HEP3" + struct.pack(">H", 6 + len(body)) + body


IPV4 = [
    *(chunk(0x0001, b"\x02"), chunk(0x0002, b"\x11")),
    *(chunk(0x0003, b"\xc0\0\x02\x0a"), chunk(0x0004, b"\xc0\0\x02\x0b")),
    *(chunk(0x0007, struct.pack(">H", 5060)), chunk(0x0008, struct.pack(">H", 5062))),
    *(chunk(0x0009, struct.pack(">I", 1790000000)), chunk(0x000A, struct.pack(">I", 999999))),
]
IPV6 = [
    *(chunk(0x0001, b"\x0a"), chunk(0x0002, b"\x06")),
    *(chunk(0x0005, bytes(range(16))), chunk(0x0006, b"\0" * 15 + b"\1")),
]
PACKETS = [
    hep(*IPV4, chunk(0x000B, b"\x01"), chunk(0x000C, b"\0\0\x07\xd1"), chunk(0x000F, INVITE)),
    hep(*IPV6, chunk(0x000B, b"\x01"), chunk(0x0011, b"a84b4c76"), chunk(0x000E, b"secret"), chunk(0x000F, RINGING)),
    hep(
        *IPV4,
        chunk(0x000B, b"\x05"),
        chunk(0x0011, b"a84b4c76"),
        chunk(0x000F, b'{"sender_information":{"packets":7}}'),
    ),
    hep(*IPV4, chunk(0x000B, b"\x64"), chunk(0x0013, b"node-\xff"), chunk(0x000F, b"a log line \x1b[2J\n")),
]
ODD_PACKETS = [
    hep(*IPV4, chunk(0x000B, b"\x63"), chunk(0x000F, b"\0\1\2")),
    hep(*IPV4, chunk(0x000B, b"\x01"), chunk(0x0010, b"\x78\x9c\x03\0\0\0\0\1")),
    hep(*IPV4, chunk(0x000B, b"\x01")),
    hep(chunk(1, b"", vendor=0xFFFF), *IPV4, chunk(0x000B, b"\x01"), chunk(0x000F, INVITE)),
    b"\x01\x10\x02\x11\x13\xc4\x13\xc6\xc0\0\x02\x0a\xc0\0\x02\x0b" + INVITE,
    b"\x02\x18\x02\x11\x13\xc4\x13\xc6\xc0\0\x02\x0a\xc0\0\x02\x0b\0\0\0\0\0\0\0\0\0\0\0\0" + INVITE,
]
HEP_PARTS = [
    *(b"%c" % byte for byte in b'\0\1\5\6\7\x0f\r\n "\\\x7f\x80\xc3\xff'),
    b"HEP3",
    b"\0\0\0\x0f\0\x06",
    b"\0\0\0\x0f\xff\xff",
    b"\0\0\0\x01\0\0",
    b"\r\ni:",
    b"\r\n ",
    b"SIP/2.0",
    RINGING,
]


def mutated(random_, text, parts, others):
    """The text with one to eight changes: bytes put in, replaced, cut out, doubled, or another's end."""
    text = bytearray(text)
    for _ in range(random_.choice((1, 1, 2, 3, 8))):
        at = random_.randrange(len(text) + 1)
        change = random_.randrange(5)
        if change == 0:
            text[at:at] = random_.choice(parts)
        elif change == 1:
            text[at : at + 1] = bytes((random_.randrange(256),))
        elif change == 2:
            del text[at : at + random_.choice((1, 2, 10, 100))]
        elif change == 3:
            text[at:at] = text[random_.randrange(len(text) + 1) :][:40] * random_.randrange(4)
        else:
            text[at:] = random_.choice(others)[-random_.randrange(1, 60) :]
    return bytes(text)


def noise(random_):
    """Random bytes, rarely as many as fit; none of them opens an object or begins a packet."""
    size = UDP_SIZE if random_.random() < 0.001 else random_.choice((0, 1, 5, 6, 40, 300))
    return random_.randbytes(size).translate(bytes.maketrans(b"{H", b"}h"))


def event(random_):
    """Bytes for udp://, and what must become of them: "queued", "invalid", or None when it is not known."""
    kind = random_.random()
    if kind < 0.1:
        return random_.choice(EVENTS), "queued"
    if kind < 0.2:
        return noise(random_), "invalid"
    return mutated(random_, random_.choice(EVENTS), JSON_PARTS, EVENTS)[:UDP_SIZE], None


def packet(random_):
    """The same for hep://."""
    kind = random_.random()
    if kind < 0.1:
        return random_.choice(PACKETS), "queued"
    if kind < 0.2:
        return noise(random_), "invalid"
    if kind < 0.25:
        return random_.choice(ODD_PACKETS), None
    data = mutated(random_, random_.choice(PACKETS + ODD_PACKETS), HEP_PARTS, PACKETS)[:UDP_SIZE]
    if random_.random() < 0.7 and len(data) >= 6:
        # the right length: the change lies behind that check
        data = data[:4] + struct.pack(">H", len(data)) + data[6:]
    return data, None


class Bridge:
    """A bridge process with a udp:// and a hep:// input, and a socket connected to each."""

    def __init__(self, folder):
        self.control = folder / "control"
        self.sockets = {}
        self.urls = []
        for scheme in ("udp", "hep"):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.bind(("127.0.0.1", 0))
                address = probe.getsockname()
            url = f"{scheme}://127.0.0.1:{address[1]}"
            self.sockets[url] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.sockets[url].connect(address)
            self.urls.append(url)
        targets = ["--to", "kafka:embedded/events?key=callid", "--dead-letter", "kafka:embedded/dead"]
        forms = ["--headers", "basic", "--raw", "--log-format", "json"]
        command = [sys.executable, "-m", "pykafkaevt", "bridge", *self.urls, "--control", self.control]
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([*command, *targets, *forms], stdout=subprocess.DEVNULL, stderr=log)

    def stats(self):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(str(self.control))
            connection.sendall(b'{"jsonrpc":"2.0","id":1,"method":"kafka_stats"}\n')
            answer = b""
            while not answer.endswith(b"\n") and (data := connection.recv(65536)):
                answer += data
        return json.loads(answer)["result"]

    def inputs(self):
        return {source["url"]: source for source in self.stats()["inputs"]}

    def wait_until_ready(self):
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if self.stats()["ready"]:
                    return
            except OSError:  # not there yet
                pass
            time.sleep(0.05)
        raise AssertionError(self.log.read_text(errors="replace"))

    def send(self, url, datagram):
        self.sockets[url].send(datagram)

    def settle(self, url, sent, seconds):
        """Wait until every datagram sent to the input is accounted for, or the time is over; its counts then."""
        deadline = time.monotonic() + seconds
        while True:
            source = self.inputs()[url]
            handled = source["queued"] + source["invalid"] + source["unrouted"]
            if handled + source["kernel_drops"] == sent or time.monotonic() > deadline:
                return source
            time.sleep(0.005)

    def close(self):
        self.process.kill()
        self.process.wait()
        for own in self.sockets.values():
            own.close()


@pytest.fixture
def bridge(tmp_path_factory):
    own = Bridge(tmp_path_factory.mktemp("bridge"))
    try:
        own.wait_until_ready()
        yield own
    finally:
        own.close()


@pytest.mark.timeout(300 + DATAGRAMS / 1000)
def test_any_datagrams_are_counted_once_each_and_the_bridge_lives_on(bridge):
    random_ = random.Random(6)
    sent = dict.fromkeys(bridge.urls, 0)
    least = {url: {"queued": 0, "invalid": 0} for url in bridge.urls}
    while sum(sent.values()) < DATAGRAMS:
        for url, make in zip(bridge.urls, (event, packet), strict=True):
            for _ in range(WINDOW):
                datagram, fate = make(random_)
                bridge.send(url, datagram)
                if fate:
                    least[url][fate] += 1
            sent[url] += WINDOW
            # what the kernel dropped may show only with the next datagram: no reason to fail here
            bridge.settle(url, sent[url], 0.5)

    invalid = 0
    for url, good in zip(bridge.urls, (EVENTS[0], PACKETS[0]), strict=True):
        bridge.send(url, good)
        source = bridge.settle(url, sent[url] + 1, PATIENCE)
        drops = source["kernel_drops"]
        assert source["received"] + drops == sent[url] + 1, source
        assert source["received"] == source["queued"] + source["invalid"] + source["unrouted"], source
        assert source["queued"] > least[url]["queued"] - drops, source
        assert source["invalid"] >= least[url]["invalid"] - drops, source
        invalid += source["invalid"]
    assert sum(bridge.stats()["invalid"].values()) == invalid

    bridge.process.send_signal(signal.SIGTERM)
    assert bridge.process.wait(PATIENCE) == 0
    for line in bridge.log.read_text("utf-8").splitlines():
        assert line.isprintable()
        assert isinstance(json.loads(line), dict)
