"""The bridge's receive loop: datagrams, what the kernel dropped of them, and whether the loop moves."""

import socket
import struct
import threading
import time

from pykafkaevt import Producer
from pykafkaevt.bridge.ingest import Ingest
from pykafkaevt.bridge.routes import Routes
from tests.unit.conftest import event


def receiving(ingest, kind=socket.AF_INET):
    """A bound socket and the thread that receives on it."""
    one = socket.socket(kind, socket.SOCK_DGRAM)
    one.bind(("127.0.0.1", 0))
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 50_000))
    one.setsockopt(socket.SOL_SOCKET, 40, 1)  # SO_RXQ_OVFL
    thread = threading.Thread(target=ingest.receive, args=(one.fileno(),), daemon=True)
    thread.start()
    return one, thread


def test_datagrams_arrive_in_order_and_stop_takes_what_the_kernel_holds(producers, stored):
    producer = producers("t")
    ingest = Ingest("json", "u", Routes([("*", producer, True)]))
    one, thread = receiving(ingest)
    messages = [event("E", callid="same", n=n) for n in range(150)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for message in messages:
            sender.sendto(message, one.getsockname())
        source = f"127.0.0.1:{sender.getsockname()[1]}"
    ingest.stop()
    thread.join(10)
    assert not thread.is_alive()
    producer.flush()
    assert stored("t", 150) == [(b"same", message) for message in messages]
    assert ingest.last_events()[0]["source"] == source
    one.close()


def test_a_datagram_longer_than_a_buffer_is_too_large_and_dead_lettered_as_far_as_it_is_there(
    producers, stored, tmp_path
):
    routes = Routes([("*", producers("t"), True)], dead_letter=producers("dead"))
    ingest = Ingest("json", "u", routes, max_size=1 << 24)
    path, message = str(tmp_path / "s"), event("E", text="x" * 100_000)
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
    ):
        one.bind(path)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 50_000))
        sender.sendto(message, path)
        ingest.stop()
        ingest.receive(one.fileno())
    assert ingest.counts()["reasons"] == {"too_large": 1}
    producers("dead").flush()
    assert stored("dead", 1) == [(None, message[:65536])]


def test_drops_of_the_kernel_are_counted(producers):
    ingest = Ingest("json", "u", Routes([("*", producers("t"), True)]))
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind(("127.0.0.1", 0))
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 50_000))
    one.setsockopt(socket.SOL_SOCKET, 40, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(200):
            sender.sendto(event("E"), one.getsockname())
        thread = threading.Thread(target=ingest.receive, args=(one.fileno(),), daemon=True)
        thread.start()
        # those behind the last one received are counted when nothing comes any more
        while ingest.counts()["received"] + ingest.counts()["kernel_drops"] < 200:
            time.sleep(0.02)
    ingest.stop()
    thread.join(10)
    assert ingest.counts()["kernel_drops"] > 0
    one.close()


def bound(receive_buffer):
    """A UDP socket with so many bytes for datagrams."""
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind(("127.0.0.1", 0))
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 50_000))
    one.setsockopt(socket.SOL_SOCKET, 40, 1)  # SO_RXQ_OVFL
    return one


def test_drops_are_counted_when_receiving_ends(producers):
    ingest = Ingest("json", "u", Routes([("*", producers("t"), True)]))
    with bound(4096) as one, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(200):
            sender.sendto(event("E"), one.getsockname())
        ingest.stop()
        ingest.receive(one.fileno())
    counts = ingest.counts()
    assert counts["kernel_drops"] > 0
    assert counts["received"] + counts["kernel_drops"] == 200


def test_drops_are_counted_and_waiting_shows_while_a_queue_is_full():
    with (
        Producer("kafka:127.0.0.1:1/t?g.queue.buffering.max.messages=1&g.log_level=0") as away,
        bound(4096) as one,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        ingest = Ingest("json", "u", Routes([("*", away, True)]))
        assert ingest.progress() == (0, False)
        thread = threading.Thread(target=ingest.receive, args=(one.fileno(),), daemon=True)
        thread.start()
        while ingest.progress()[0] < 3:
            time.sleep(0.01)
        for _ in range(2):
            sender.sendto(event("E"), one.getsockname())
        while not ingest.progress()[1]:
            time.sleep(0.01)
        for _ in range(200):
            sender.sendto(event("E"), one.getsockname())
        while not ingest.counts()["kernel_drops"]:
            time.sleep(0.01)
        turns, waiting = ingest.progress()
        assert waiting
        time.sleep(0.2)
        assert ingest.progress() == (turns, True)
        ingest.abort()
        thread.join(10)
        assert not ingest.progress()[1]
        counts = ingest.counts()
        assert counts["received"] == counts["queued"] + counts["invalid"]
        away.purge()


def test_a_batch_whose_events_need_much_memory_is_handled_in_parts(producers, stored):
    """Each packet of 30 kB may become an event of 360 kB: 4 MB hold eleven."""
    ingest = Ingest("hep", "u", Routes([("*", producers("t"), True)]))
    payload = b"x" * 30_000
    packets = [
        b"HEP3" + struct.pack(">HHHHBHHH", 13 + 6 + len(payload) + 10, 0, 0x0B, 7, 0x64, 0, 0x0F, 6 + len(payload))
        + payload + struct.pack(">HHHI", 0, 0x09, 10, n)
        for n in range(1, 7)
    ]  # fmt: skip
    with bound(1 << 24) as one, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for packet in packets * 4:
            sender.sendto(packet, one.getsockname())
        ingest.stop()
        ingest.receive(one.fileno())
    counts = ingest.counts()
    assert counts["received"] + counts["kernel_drops"] == 24
    assert counts["queued"] == counts["received"]
    producers("t").flush()
    assert len(stored("t", counts["queued"])) == counts["queued"]
