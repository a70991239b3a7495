"""The bridge's inputs that are not datagrams, before a stand-in for what takes their messages."""

import io
import json
import os
import socket
import struct
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import dpkt
import pytest

from pykafkaevt import Closed, ConfigError, DeliveryError, dumps
from pykafkaevt.bridge import acceptor, connections, files, progress
from pykafkaevt.bridge import streams as module
from pykafkaevt.bridge.config import Input
from pykafkaevt.bridge.connections import UNANSWERED, request_id
from pykafkaevt.bridge.files import HEP_SIZE, hep_packet, is_sip
from pykafkaevt.bridge.streams import Streams
from pykafkaevt.capture import Datagram

DEFAULTS = {"method": None, "speed": 1.0, "max_size": 65536}
SECONDS = 10  # a test waits for something at most
QUIET = 0.15  # that nothing happens is watched for

EVENT = dumps("E_ACC_CDR", {"callid": "a84b4c76@pc33", "text": 'brace } quote " é'})
INVITE = b"INVITE sip:bob@example.com SIP/2.0\r\nCall-ID: a84b4c76@pc33\r\n\r\n"
RINGING = b"SIP/2.0 180 Ringing\r\nCall-ID: a84b4c76@pc33\r\n\r\n"


class FakeIngest:
    """Records what it is fed; the test makes the reports, by the record's place. reason: why it queues nothing."""

    def __init__(self, source, kind):
        self.source = source
        self.kind = kind
        self.messages = []
        self.sources = []
        self.invalids = []
        self.reports = []
        self.reason = None
        self.closed = False
        self.waiting = False

    def feed(self, data, source="", *, on_report=None):
        if self.closed:
            raise Closed("closed")
        self.messages.append(bytes(data))
        self.sources.append(source)
        if self.reason is None and on_report is not None:
            self.reports.append(on_report)
        return self.reason

    def progress(self):
        return 0, self.waiting

    def invalid(self, reason, data, source=""):
        self.invalids.append((reason, bytes(data)))
        self.sources.append(source)


def until(condition):
    """Wait for it to be true."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def tcp(scheme="tcp"):
    return Input(f"{scheme}://127.0.0.1:0", scheme, "127.0.0.1", 0)


def started(monkeypatch, make):
    """What a fixture yields: a callable that starts what make(*inputs, **options) makes; all end with the test."""
    monkeypatch.setattr(module, "TICK", 0.01)
    monkeypatch.setattr(files, "TICK", 0.01)
    monkeypatch.setattr(module, "LINGER", 0.01)
    running = []

    def start(*inputs, **options):
        running.append(make(*inputs, **options))
        running[-1].start()
        return running[-1]

    yield start
    for one in running:
        one.stop()
        one.give_up()
        for thread in one.threads:
            thread.join(SECONDS)
        assert not any(thread.is_alive() for thread in one.threads)


@pytest.fixture
def run(monkeypatch):
    """run(*inputs, **options): the running Streams."""
    yield from started(monkeypatch, lambda *inputs, **options: Streams(inputs, FakeIngest, **{**DEFAULTS, **options}))


@contextmanager
def connected(running, number=0):
    """A connection to the input of that number among the TCP ones."""
    with socket.create_connection(running.listeners[number].socket.getsockname(), SECONDS) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield peer


def received(peer, count):
    """That many JSON objects, in order."""
    text, found = "", []
    while len(found) < count:
        block = peer.recv(65536)
        assert block
        text += block.decode()
        while text:
            try:
                value, end = json.JSONDecoder().raw_decode(text)
            except ValueError:
                break
            found.append(value)
            text = text[end:]
    assert not text
    return found


def is_quiet(peer):
    peer.settimeout(QUIET)
    try:
        return not peer.recv(1)
    except TimeoutError:
        return True
    finally:
        peer.settimeout(SECONDS)


def request(number, method="E_ACC_CDR"):
    return b'{"jsonrpc":"2.0","id":%b,"method":"%b"}' % (str(number).encode(), method.encode())


def hep(payload=INVITE, time=1_700_000_000_000_001):
    return hep_packet(Datagram(time, "192.0.2.1", 5060, "192.0.2.2", 5070, payload))


# Messages of a connection


@pytest.mark.parametrize("cut", range(len(EVENT) + 1))
def test_message_cut_at_every_byte_is_one_message(run, cut):
    running = run(tcp())
    with connected(running) as peer:
        peer.sendall(EVENT[:cut])
        time.sleep(0.001)
        peer.sendall(EVENT[cut:])
        until(lambda: running.ingests[0].messages)
    assert running.ingests[0].messages == [EVENT]


@pytest.mark.parametrize("between", [b"", b"\n", b"\r\n", b" \t\n\n"])
def test_many_messages_of_a_segment_are_taken_in_order(run, between):
    running = run(tcp())
    sent = [dumps("E_N", {"n": n}) for n in range(5000)]
    with connected(running) as peer:
        peer.sendall(between.join(sent))
        peer.shutdown(socket.SHUT_WR)
        assert peer.recv(1) == b""
    assert running.ingests[0].messages == sent
    assert running.ingests[0].invalids == []


def test_source_is_the_address_of_the_peer(run):
    running = run(tcp())
    with connected(running) as peer:
        peer.sendall(EVENT)
        until(lambda: running.ingests[0].messages)
        assert running.ingests[0].sources == ["{}:{}".format(*peer.getsockname())]


@pytest.mark.parametrize(
    ("scheme", "sent", "messages", "invalids"),
    [
        ("tcp", b"garbage\n" + EVENT, [EVENT], [("garbage", b"garbage")]),
        ("tcp", b'{"a":"' + b"x" * 300 + b'"}' + EVENT, [EVENT], [("too_large", b'{"a":"' + b"x" * 122)]),
        ("tcp", EVENT + b'{"method"', [EVENT], [("truncated", b'{"method"')]),
        ("tcp", b"", [], []),
        ("hep+tcp", b"\x00" + hep(), [hep()], [("garbage", b"\x00")]),
        ("hep+tcp", hep(bytes(300)) + hep(), [hep()], [("too_large", hep(bytes(300))[:128])]),
        ("hep+tcp", hep() + hep()[:-1], [hep()], [("truncated", hep()[:-1][:128])]),
    ],
)
def test_what_is_no_message_is_counted_by_its_reason(run, scheme, sent, messages, invalids):
    running = run(tcp(scheme), max_size=256)
    with connected(running) as peer:
        peer.sendall(sent)
        peer.shutdown(socket.SHUT_WR)
        assert peer.recv(1) == b""
    taken = running.ingests[0]
    assert (taken.messages, taken.invalids) == (messages, invalids)


def test_hep_packets_go_to_hep(run):
    running = run(tcp(), tcp("hep+tcp"))
    assert [one.kind for one in running.ingests] == ["json", "hep"]
    packets = [hep(time=n) for n in range(500)]
    with connected(running, 1) as peer:
        peer.sendall(b"".join(packets))
        until(lambda: len(running.ingests[1].messages) == len(packets))
    assert running.ingests[1].messages == packets
    assert running.ingests[1].reports == []


def test_peer_that_resets_has_its_messages_taken(run):
    running = run(tcp())
    with connected(running) as peer:
        peer.sendall(EVENT + b"{")
        until(lambda: running.ingests[0].messages)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(lambda: running.ingests[0].invalids)
    assert running.ingests[0].invalids == [("truncated", b"{")]
    until(lambda: not running.connections(running.inputs[0].url))


# Answers


def test_request_is_answered_when_it_is_reported_and_not_before(run):
    running = run(tcp())
    with connected(running) as peer:
        peer.sendall(request(7))
        until(lambda: running.ingests[0].reports)
        assert is_quiet(peer)
        running.ingests[0].reports[0](None)
        assert peer.recv(4096) == b'{"jsonrpc":"2.0","result":"OK","id":7}'
    assert running.ingests[0].messages == [request(7)]


def test_answers_come_in_the_order_of_the_reports(run):
    running = run(tcp())
    with connected(running) as peer:
        peer.sendall(b"".join(map(request, range(6))))
        until(lambda: len(running.ingests[0].reports) == 6)
        order = [3, 0, 5, 4, 1, 2]
        for place in order:
            running.ingests[0].reports[place](None)
        assert [one["id"] for one in received(peer, 6)] == order


def test_failed_record_is_answered_with_its_error(run):
    running = run(tcp())
    with connected(running) as peer:
        peer.sendall(request(1))
        until(lambda: running.ingests[0].reports)
        running.ingests[0].reports[0](DeliveryError(-192, 'Local: "timed out" \\ \n é'))
        error = {"code": -32000, "message": 'Local: "timed out" \\ \n é (code -192)'}
        assert received(peer, 1) == [{"jsonrpc": "2.0", "error": error, "id": 1}]


def test_record_that_is_rejected_at_once_is_answered(run):
    running = run(tcp())

    def feed(data, source="", *, on_report=None):
        on_report(DeliveryError(10, "too large"))

    running.ingests[0].feed = feed
    with connected(running) as peer:
        peer.sendall(request(1))
        assert received(peer, 1)[0]["error"]["message"] == "too large (code 10)"


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("no_method", "invalid message: no_method"),
        ("bad_method", "invalid message: bad_method"),
        ("too_large", "invalid message: too_large"),
        ("unrouted", "the event was not queued: there is no route for it"),
        ("abandoned", "the event was not queued: the bridge is ending"),
        ("no_memory", "the event was not queued: no memory is left"),
    ],
)
def test_request_that_is_not_queued_is_answered_with_the_true_reason(run, reason, text):
    running = run(tcp())
    running.ingests[0].reason = reason
    with connected(running) as peer:
        peer.sendall(request(5))
        error = {"code": -32000, "message": text}
        assert received(peer, 1) == [{"jsonrpc": "2.0", "error": error, "id": 5}]
    assert running.ingests[0].messages == [request(5)]


@pytest.mark.parametrize(
    "sent",
    [EVENT, b'{"id":null,"method":"E"}', b'{"method":"E","params":{"id":1}}', b'{"id":1,"method":}', b'{"id"}'],
)
def test_nothing_else_gets_an_answer(run, sent):
    running = run(tcp())
    with connected(running) as peer:
        peer.sendall(sent)
        until(lambda: running.ingests[0].messages == [sent])
        assert is_quiet(peer)
    assert running.ingests[0].reports == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b'{"method":"E"}', None),
        (b'{"method":"E","id":1}', b"1"),
        (b'{"method":"E","id": 1.0e+2 }', b"1.0e+2"),
        (b'{"method":"E","id":99999999999999999999999}', b"99999999999999999999999"),
        (b'{"method":"E","id":"a\\u0041\\n"}', b'"a\\u0041\\n"'),
        (b'{"method":"E","\\u0069d":3}', b"3"),
        (b'{"method":"E","id":null}', None),
        (b'{"method":"E","params":{"id":1}}', None),
        (b'{"id":"\xff","method":"E"}', None),
        (b'{"id":1', None),
        (b'{ "id" : [1] }', b"[1]"),
    ],
)
def test_id_of_a_request_is_taken_as_it_is_written(text, found):
    assert request_id(text) == found


def test_peer_that_has_sent_all_still_gets_its_answers(run):
    running = run(tcp())
    with connected(running) as peer:
        peer.sendall(request(1) + request(2))
        peer.shutdown(socket.SHUT_WR)
        until(lambda: len(running.ingests[0].reports) == 2)
        running.ingests[0].reports[0](None)
        assert received(peer, 1)[0]["id"] == 1
        assert is_quiet(peer)
        running.ingests[0].reports[1](None)
        assert received(peer, 1)[0]["id"] == 2
        assert peer.recv(1) == b""
    until(lambda: not running.connections(running.inputs[0].url))


def test_reports_for_a_peer_that_is_gone_are_nobodys(run):
    running = run(tcp())
    with connected(running) as peer:
        peer.sendall(request(1) + request(2))
        until(lambda: len(running.ingests[0].reports) == 2)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(lambda: not running.connections(running.inputs[0].url))
    for report in running.ingests[0].reports:
        report(None)
    with connected(running) as peer:
        peer.sendall(request(3))
        until(lambda: len(running.ingests[0].reports) == 3)
        running.ingests[0].reports[2](None)
        assert received(peer, 1)[0]["id"] == 3


# Bounds


@pytest.mark.parametrize("number", [b"%d", b'"%0999d"'])
def test_connection_with_many_unanswered_requests_is_not_read(run, number):
    running = run(tcp())
    taken = running.ingests[0]
    sent = 4 * UNANSWERED
    requests = b"".join(b'{"id":%b,"method":"E"}' % (number % n) for n in range(sent))

    def report():
        for place in range(sent):
            until(lambda place=place: len(taken.reports) > place)
            taken.reports[place](None)

    with connected(running) as peer:
        # the kernel need not hold all while nothing is read
        sender, reporter = threading.Thread(target=peer.sendall, args=(requests,)), threading.Thread(target=report)
        sender.start()
        until(lambda: taken.reports)
        time.sleep(QUIET)
        # what one piece has is taken to its end
        assert len(taken.reports) < UNANSWERED + connections.PIECE // 20
        reporter.start()
        assert [int(one["id"]) for one in received(peer, sent)] == list(range(sent))
        sender.join()
        reporter.join()
    assert len(taken.messages) == sent


def test_peer_that_does_not_read_its_answers_is_not_read(run):
    running = run(tcp())
    taken = running.ingests[0]
    taken.feed = lambda data, source, *, on_report: taken.messages.append(data) or on_report(None)
    with connected(running) as peer:
        until(lambda: running.listeners[0].connections)
        connection = next(iter(running.listeners[0].connections))
        peer.setblocking(False)
        left = memoryview(request(1) * 1_000_000)
        while connection.writable:
            with suppress(BlockingIOError):
                left = left[peer.send(left) :]
            assert left
        time.sleep(QUIET)
        assert not connection.reading
        assert connection.transport.get_write_buffer_size() < 1 << 20
        before = len(taken.messages)
        time.sleep(QUIET)
        assert len(taken.messages) == before


def test_input_has_so_many_connections_and_no_more(run, monkeypatch, caplog):
    monkeypatch.setattr(acceptor, "CONNECTIONS", 2)
    running = run(tcp())
    url = running.inputs[0].url
    with connected(running), connected(running):
        until(lambda: running.connections(url) == 2)
        for _ in range(3):
            with connected(running) as third, suppress(ConnectionResetError):
                assert third.recv(1) == b""
        assert running.connections(url) == 2
    until(lambda: not running.connections(url))
    assert caplog.text.count("is closed: 2 are open") == 1
    with connected(running) as peer:
        peer.sendall(EVENT)
        until(lambda: running.ingests[0].messages)


# The start and the end


@pytest.mark.parametrize("scheme", ["file", "pcap"])
def test_directory_is_no_input(tmp_path, scheme):
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ConfigError, match=f"^{scheme}:{tmp_path}: Is a directory"):
        Streams([Input(f"{scheme}:{tmp_path}", scheme, path=tmp_path)], FakeIngest, **DEFAULTS).start()
    assert len(os.listdir("/proc/self/fd")) == before


def test_address_that_cannot_be_bound_is_named_and_nothing_stays_open(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        url = f"tcp://127.0.0.1:{port}"
        failing = Streams([tcp(), Input(url, "tcp", "127.0.0.1", port)], FakeIngest, **DEFAULTS)
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(ConfigError, match=f"^{url}: Address already in use"):
            failing.start()
        assert len(os.listdir("/proc/self/fd")) == before
    assert failing.ingests == []


@pytest.mark.parametrize(
    ("scheme", "content", "reason"),
    [
        ("file", None, "No such file"),
        ("pcap", None, "No such file"),
        ("pcap", b"no capture at all, is it?", "is no capture"),
        ("pcap", b"", "is no capture"),
    ],
)
def test_file_that_is_not_usable_is_named(tmp_path, scheme, content, reason):
    path = tmp_path / "input"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"^{scheme}:{path}: {reason}"):
        Streams([Input(f"{scheme}:{path}", scheme, path=path)], FakeIngest, **DEFAULTS).start()


def test_stop_takes_what_was_sent_and_answers_before_it_closes(run):
    running = run(tcp())
    address = running.listeners[0].socket.getsockname()
    with connected(running) as peer, connected(running) as idle:
        peer.sendall(request(1) + EVENT)
        until(lambda: len(running.ingests[0].messages) == 2)
        running.stop()
        assert idle.recv(1) == b""
        assert is_quiet(peer)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, SECONDS)
        running.ingests[0].reports[0](None)
        assert received(peer, 1)[0]["id"] == 1
        assert peer.recv(1) == b""
    running.threads[0].join(SECONDS)
    assert not running.threads[0].is_alive()


def test_give_up_closes_what_is_not_answered(run):
    running = run(tcp())
    with connected(running) as peer:
        peer.sendall(request(1))
        until(lambda: running.ingests[0].reports)
        running.stop()
        running.threads[0].join(0.3)
        assert running.threads[0].is_alive()
        running.give_up()
        running.threads[0].join(SECONDS)
    assert not running.threads[0].is_alive()
    # a late report has nobody to go to
    running.ingests[0].reports[0](None)


def test_connection_ends_with_an_answer_when_the_bridge_ends(run):
    running = run(tcp())
    running.ingests[0].closed = True
    with connected(running) as peer:
        peer.sendall(request(1) + request(2))
        assert b"the bridge is ending" in peer.recv(4096)
        with suppress(ConnectionResetError):
            assert peer.recv(1) == b""
    until(lambda: not running.connections(running.inputs[0].url))


@pytest.mark.parametrize("waiting", [False, True])
def test_connections_that_do_not_move_are_a_fault_unless_a_queue_is_waited_for(run, monkeypatch, waiting):
    monkeypatch.setattr(progress, "STUCK", 0.3)
    running = run(tcp())
    fed, blocked = threading.Event(), threading.Event()

    def feed(data, source="", *, on_report=None):
        running.ingests[0].waiting = waiting
        fed.set()
        assert blocked.wait(SECONDS)
        running.ingests[0].waiting = False

    running.ingests[0].feed = feed
    with connected(running) as peer:
        for _ in range(5):
            assert running.faults() == []
            time.sleep(0.1)
        peer.sendall(EVENT)
        assert fed.wait(SECONDS)
        try:
            end = time.monotonic() + (1 if waiting else SECONDS)
            while not running.faults() and time.monotonic() < end:
                time.sleep(0.02)
            url = running.inputs[0].url
            assert running.faults() == ([] if waiting else [f"{url}: the thread of the connections does not move"])
        finally:
            blocked.set()
    until(lambda: running.faults() == [])


# Files


def lines_of(run, path, content, **options):
    path.write_bytes(content)
    running = run(Input(f"file:{path}", "file", path=path), **options)
    assert running.finished.wait(SECONDS)
    assert running.failed is None
    return running.ingests[0]


@pytest.mark.parametrize(
    ("content", "messages"),
    [
        (b"", []),
        (EVENT, [EVENT]),
        (EVENT + b"\n" + EVENT + b"\n", [EVENT, EVENT]),
        (EVENT + b"\r\n\r\n \n" + EVENT + b"\r\n", [EVENT, EVENT]),
        (b"garbage\n" + EVENT, [b"garbage", EVENT]),
        (EVENT + EVENT, [EVENT + EVENT]),
    ],
)
def test_each_line_of_a_file_is_a_message(run, tmp_path, content, messages):
    taken = lines_of(run, tmp_path / "events", content)
    assert taken.messages == messages
    assert set(taken.sources) <= {str(tmp_path / "events")}
    assert taken.kind == "json"


def test_method_makes_the_objects_of_a_file_plain(run, tmp_path):
    assert lines_of(run, tmp_path / "objects", b"{}\n", method="E_PLAIN").kind == "plain"


@pytest.mark.parametrize("block", [1, 7, 64, 1 << 18])
def test_lines_are_the_same_however_they_are_read(run, tmp_path, monkeypatch, block):
    monkeypatch.setattr(files, "BLOCK", block)
    sent = [dumps("E_N", {"n": n}) for n in range(100)]
    taken = lines_of(run, tmp_path / "events", b"\n".join(sent))
    assert taken.messages == sent


@pytest.mark.parametrize("end", [b"", b"\n", b"\n" + EVENT])
def test_line_that_is_too_large_is_dropped_and_counted_once(run, tmp_path, monkeypatch, end):
    monkeypatch.setattr(files, "BLOCK", 64)
    taken = lines_of(run, tmp_path / "events", EVENT + b"\n" + b"x" * 10_000 + end, max_size=256)
    assert taken.messages == [EVENT] + [EVENT] * (EVENT in end)
    assert taken.invalids == [("too_large", b"x" * 128)]


def test_standard_input_ends_when_it_is_closed(run, monkeypatch):
    reading, writing = os.pipe()
    with os.fdopen(reading) as given:
        monkeypatch.setattr(sys, "stdin", given)
        running = run(Input("stdin:", "stdin"))
        os.write(writing, EVENT + b"\n" + EVENT[:9])
        until(lambda: running.ingests[0].messages == [EVENT])
        os.write(writing, EVENT[9:])
        assert not running.finished.wait(QUIET)
        os.close(writing)
        assert running.finished.wait(SECONDS)
    assert running.ingests[0].messages == [EVENT, EVENT]
    assert running.ingests[0].sources == ["stdin"] * 2


def test_stop_ends_an_input_that_waits(run, tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    running = run(Input(f"file:{path}", "file", path=path))
    running.stop()
    running.threads[0].join(SECONDS)
    assert not running.threads[0].is_alive()


def test_failure_while_a_file_is_read_is_a_fault(run):
    # there is nothing at address 0
    running = run(Input("file:/proc/self/mem", "file", path=Path("/proc/self/mem")), tcp())
    assert running.finished.wait(SECONDS)
    (fault,) = running.faults()
    assert fault.startswith("file:/proc/self/mem: reading failed: [Errno 5]")


@pytest.mark.parametrize(
    ("others", "ends"),
    [([], True), ([tcp()], False), ([Input("udp://127.0.0.1:1", "udp", "127.0.0.1", 1)], False)],
)
def test_finished_only_when_every_input_ends_by_itself(run, tmp_path, others, ends):
    path = tmp_path / "events"
    path.write_bytes(EVENT)
    running = run(Input(f"file:{path}", "file", path=path), *others)
    until(lambda: any(one.messages for one in running.ingests))
    assert running.finished.wait(SECONDS if ends else QUIET) == ends


def test_nothing_is_finished_without_inputs(run):
    assert not run().finished.is_set()


# Captures


def frame(payload, port=5060):
    udp = dpkt.udp.UDP(sport=port, dport=5070, data=payload, ulen=8 + len(payload))
    packet = dpkt.ip.IP(src=b"\xc0\x00\x02\x01", dst=b"\xc0\x00\x02\x02", p=dpkt.ip.IP_PROTO_UDP, data=udp)
    packet.len = len(packet)
    return bytes(dpkt.ethernet.Ethernet(src=b"\0" * 6, dst=b"\0" * 6, data=packet))


def capture(path, *timed):
    content = io.BytesIO()
    writer = dpkt.pcap.Writer(content)
    for seconds, payload in timed:
        writer.writepkt(frame(payload), ts=seconds)
    path.write_bytes(content.getvalue())
    return Input(f"pcap:{path}", "pcap", path=path)


def test_capture_gives_sip_hep_and_json_and_passes_over_the_rest(run, tmp_path):
    payloads = [INVITE, RINGING, hep(RINGING), b" " + EVENT, b"\r\n\r\n", b"\x80\x00rtp", b"\x00", b""]
    running = run(capture(tmp_path / "calls", *((1_700_000_000.5, one) for one in payloads)), speed=0)
    assert running.finished.wait(SECONDS)
    assert running.failed is None
    by_kind = {one.kind: one for one in running.ingests}
    stamp = 1_700_000_000_500_000
    assert by_kind["hep"].messages == [hep(INVITE, stamp), hep(RINGING, stamp), hep(RINGING)]
    assert by_kind["json"].messages == [b" " + EVENT]
    assert set(by_kind["hep"].sources) == {str(tmp_path / "calls")}


def test_capture_that_is_cut_short_counts_as_truncated(run, tmp_path):
    source = capture(tmp_path / "calls", (1, INVITE), (2, RINGING))
    whole = source.path.read_bytes()
    source.path.write_bytes(whole[: -len(frame(RINGING)) - 3])
    running = run(source, speed=0)
    assert running.finished.wait(SECONDS)
    taken = running.ingests[0]
    assert (len(taken.messages), taken.invalids, running.failed) == (1, [("truncated", b"")], None)


@pytest.mark.parametrize(("speed", "least", "most"), [(0, 0, 0.3), (1, 0.4, SECONDS), (2, 0.2, 0.4)])
def test_speed_is_a_multiple_of_the_captures_own(run, tmp_path, speed, least, most):
    started = time.monotonic()
    running = run(capture(tmp_path / "calls", (10.0, INVITE), (10.4, INVITE)), speed=speed)
    assert running.finished.wait(SECONDS)
    assert least <= time.monotonic() - started < most


def test_stop_ends_a_replay_that_waits(run, tmp_path):
    running = run(capture(tmp_path / "calls", (10.0, INVITE), (10_000.0, INVITE)))
    until(lambda: running.ingests[0].messages)
    running.stop()
    running.threads[0].join(SECONDS)
    assert not running.threads[0].is_alive()


def test_sip_packet_becomes_hep_with_addresses_and_time():
    packet = hep_packet(Datagram(1_700_000_000_000_042, "192.0.2.1", 5060, "192.0.2.2", 5070, INVITE))
    assert packet == b"HEP3" + struct.pack("!H", len(packet)) + b"".join(
        struct.pack("!HHH", 0, kind, 6 + len(value)) + value
        for kind, value in [
            (1, b"\x02"),
            (2, b"\x11"),
            (3, b"\xc0\x00\x02\x01"),
            (4, b"\xc0\x00\x02\x02"),
            (7, b"\x13\xc4"),
            (8, b"\x13\xce"),
            (9, struct.pack("!I", 1_700_000_000)),
            (10, struct.pack("!I", 42)),
            (11, b"\x01"),
            (15, INVITE),
        ]
    )


def test_ipv6_packet_has_ipv6_chunks():
    packet = hep_packet(Datagram(0, "2001:db8::1", 5060, "2001:db8::2", 5070, INVITE))
    assert socket.inet_pton(socket.AF_INET6, "2001:db8::2") in packet
    assert struct.pack("!HHHB", 0, 1, 7, 10) in packet


def test_datagram_beyond_heps_size_is_too_large(run, tmp_path):
    large = INVITE + bytes(HEP_SIZE - 80 - len(INVITE))
    running = run(capture(tmp_path / "calls", (1, large), (1, INVITE)), speed=0)
    assert running.finished.wait(SECONDS)
    taken = running.ingests[0]
    assert [reason for reason, _ in taken.invalids] == ["too_large"]
    assert len(taken.messages) == 1


@pytest.mark.parametrize(
    ("payload", "sip"),
    [
        (INVITE, True),
        (RINGING, True),
        (b"MESSAGE sip:a@b SIP/2.0\nCall-ID: x\n\n", True),
        (b"INVITE sip:bob@example.com SIP/2.0", False),
        (b"GET / HTTP/1.1\r\n\r\n", False),
        (b"\r\n\r\n", False),
        (b"", False),
    ],
)
def test_sip_is_known_by_its_start_line(payload, sip):
    assert is_sip(payload) == sip
