"""Who may send to an input: addresses that are let in, and keys of HEP packets."""

import socket
import struct
import subprocess
import threading
import time
from contextlib import contextmanager
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykafkaevt.bridge.access import Access
from pykafkaevt.bridge.ingest import Ingest
from pykafkaevt.bridge.routes import Routes
from tests.unit.conftest import event
from tests.unit.test_hep import INVITE, OPTIONS, chunk, packet

SECONDS = 10
NEW, OLD = "n3w~S3cr3t!", "0ld"
TYPE, PAYLOAD = chunk(0x000B, b"\x01"), chunk(0x000F, OPTIONS)


def key(text):
    return chunk(0x000E, text.encode())


def test_the_kernel(compile_c):
    subprocess.run([compile_c("access")], check=True, timeout=60)


# Addresses


@pytest.mark.parametrize(
    ("networks", "admitted", "refused"),
    [
        ([], ["192.0.2.1", "2001:db8::1"], []),
        (["192.0.2.0/24"], ["192.0.2.0", "192.0.2.255", "::ffff:192.0.2.7"], ["192.0.1.255", "192.0.3.0", "::1"]),
        (["192.0.2.7"], ["192.0.2.7"], ["192.0.2.6", "192.0.2.8"]),
        (["0.0.0.0/0"], ["0.0.0.0", "255.255.255.255", "::ffff:1.2.3.4"], ["::", "2001:db8::1"]),
        (["::/0"], ["::", "ffff:ffff::1", "fe80::1%eth0"], ["192.0.2.1", "::ffff:192.0.2.1"]),
        (["2001:db8::/32", "192.0.2.1"], ["2001:db8:ffff::1", "192.0.2.1"], ["2001:db7::", "2001:db9::"]),
        # they touch, hold one another, stand twice and in no order
        (["10.0.1.0/24", "10.0.0.0/24", "10.0.0.0/24", "10.0.0.128/25"], ["10.0.0.0", "10.0.1.255"], ["10.0.2.0"]),
    ],
)
def test_addresses_of_networks_may_send(networks, admitted, refused):
    access = Access(networks)
    assert [one for one in admitted if not access.admits(one)] == []
    assert [one for one in refused if access.admits(one)] == []


small = st.integers(0, 1023).map(lambda n: str(ip_address(f"10.0.{n // 256}.{n % 256}")))
networks = st.tuples(small, st.integers(24, 32)).map(lambda one: str(ip_network("{}/{}".format(*one), strict=False)))


@given(st.lists(networks, min_size=1, max_size=12), small)
def test_an_address_is_let_in_when_it_is_in_one_of_the_networks(networks, address):
    assert Access(networks).admits(address) == any(ip_address(address) in ip_network(one) for one in networks)


@pytest.mark.parametrize("network", ["10.0.0.1/8", "x", "10.0.0.0/33", ""])
def test_what_is_no_network_is_refused(network):
    with pytest.raises(ValueError, match=r"appear|host bits"):
        Access([network])


def test_rules_show_no_key():
    assert NEW not in repr(Access([], [NEW]))


@contextmanager
def receiving(ingest, host, kind=socket.AF_INET):
    """The address of a socket that is received from until the end, with all that was sent by then."""
    with socket.socket(kind, socket.SOCK_DGRAM) as one:
        if kind == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        one.bind((host, 0))
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 50_000))
        thread = threading.Thread(target=ingest.receive, args=(one.fileno(),), daemon=True)
        thread.start()
        yield one.getsockname()[1]
        ingest.stop()
        thread.join(SECONDS)
        assert not thread.is_alive()


def send(host, port, *messages, by="127.0.0.1"):
    """From an address of the loopback network, which has 16 million."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((by, 0))
        for message in messages:
            sender.sendto(message, (host, port))


@pytest.mark.parametrize("bound", [("127.0.0.1", socket.AF_INET), ("::", socket.AF_INET6)], ids=["IPv4", "dual-stack"])
def test_datagrams_of_others_are_refused_before_they_are_read(producers, stored, bound):
    routes = Routes([("*", producers("t"), True)], dead_letter=producers("dead"))
    ingest = Ingest("json", "u", routes, access=Access(["127.0.0.2/31", "::1"]))
    assert ingest.newest_refused() is None
    with receiving(ingest, *bound) as port:
        for n in range(50):
            send("127.0.0.1", port, b"no JSON", event("E", n=n), by="127.0.0.1")
            send("127.0.0.1", port, event("E", n=n), by="127.0.0.3")
        send("127.0.0.1", port, event("E"), by="127.0.0.4")
        if ":" in bound[0]:
            send("::1", port, event("V6"), by="::1")
    counts = ingest.counts()
    admitted = 50 + (":" in bound[0])
    assert (counts["received"], counts["queued"], counts["refused"]) == (admitted, admitted, 101)
    assert (counts["invalid"], counts["kernel_drops"], ingest.samples()) == (0, 0, [])
    source = ingest.newest_refused()
    assert source is not None
    assert source.removeprefix("[::ffff:").startswith(("127.0.0.1", "127.0.0.4"))
    assert ingest.newest_refused() is None
    producers("dead").flush()
    assert producers("dead").stats().queued == 0


def test_all_datagrams_of_a_batch_may_be_refused(producers):
    ingest = Ingest("json", "u", Routes([("*", producers("t"), True)]), access=Access(["192.0.2.1"]))
    with receiving(ingest, "127.0.0.1") as port:
        send("127.0.0.1", port, *[event("E")] * 200)
    counts = ingest.counts()
    assert (counts["received"], counts["refused"]) == (0, 200)


def test_rules_change_while_it_receives(producers):
    ingest = Ingest("json", "u", Routes([("*", producers("t"), True)]))

    def count(name, least):
        end = time.monotonic() + SECONDS
        while ingest.counts()[name] < least:
            assert time.monotonic() < end
            time.sleep(0.002)

    with receiving(ingest, "127.0.0.1") as port:
        for turn in range(1, 30):
            ingest.set_access(Access([f"192.0.2.{n}" for n in range(turn)]))
            send("127.0.0.1", port, event("E"))
            count("refused", turn)
            ingest.set_access(Access(["127.0.0.0/8"]))
            send("127.0.0.1", port, event("E"))
            count("queued", turn)
    assert ingest.counts()["received"] == 29


def test_peers_that_are_refused_are_counted_too(producers):
    ingest = Ingest("json", "u", Routes([("*", producers("t"), True)]))
    ingest.refuse("192.0.2.1:5")
    ingest.refuse("é" * 200)
    assert ingest.counts()["refused"] == 2
    assert ingest.newest_refused().startswith("é" * 60)


# Keys

RIGHT = [
    packet(key(NEW), TYPE, PAYLOAD),
    packet(TYPE, PAYLOAD, key(OLD)),
    # of equal chunks the first counts
    packet(key(NEW), key("wrong"), TYPE, PAYLOAD),
]
NO_KEY = [
    packet(TYPE, PAYLOAD),
    packet(TYPE, PAYLOAD, chunk(0x000E, OLD.encode(), vendor=1)),
    packet(TYPE),
    packet(),
    packet(PAYLOAD),
]
WRONG_KEY = [
    *(packet(key(text), TYPE, PAYLOAD) for text in ("", NEW[:-1], f"{NEW}x", f"{NEW}\0", NEW.upper(), OLD[:1])),
    packet(key("wrong"), key(NEW), TYPE, PAYLOAD),
    packet(key("wrong"), TYPE, chunk(0x000F, b"no SIP")),
]
# what stands against them, the key being right
OTHERWISE = [
    (packet(key(NEW), TYPE), "hep_no_payload"),
    (packet(key(NEW), PAYLOAD), "hep_no_type"),
    (packet(key(NEW), TYPE, chunk(0x000F, b"no SIP")), "hep_not_sip"),
]
# the key was not found, for there are no chunks, or not all are whole
BROKEN = [
    (b"", "hep_short"),
    (b"\x02\x10", "hep_v2"),
    (INVITE, "hep_not_hep"),
    (RIGHT[0] + b"x", "hep_trailing"),
    (RIGHT[0][:-1], "hep_truncated"),
    (packet(key(NEW), b"\0\0\0\x0f\0\x05"), "hep_bad_chunk"),
    (packet(key(NEW), TYPE, chunk(0x000F, b"x" * 60000)), "too_large"),
]


@pytest.fixture
def keyed(producers):
    """An input that asks for one of two keys, with dead letters."""
    routes = Routes([("*", producers("t"), True)], dead_letter=producers("dead"))
    return Ingest("hep", "u", routes, raw=True, max_size=50_000, access=Access([], [NEW, OLD]))


@pytest.mark.parametrize("data", RIGHT)
def test_a_packet_with_any_of_the_keys_is_taken(keyed, data, producers, stored):
    assert keyed.feed(data) is None
    producers("t").flush()
    ((_, value),) = stored("t", 1)
    assert not any(secret.encode() in value for secret in (NEW, OLD, "wrong"))


@pytest.mark.parametrize(
    ("data", "reason"),
    [*((data, "hep_no_key") for data in NO_KEY), *((data, "hep_wrong_key") for data in WRONG_KEY), *BROKEN],
)
def test_a_packet_without_a_key_is_refused_by_its_reason_and_comes_not_into_kafka(keyed, data, reason, producers):
    assert keyed.feed(data) == reason
    assert keyed.counts()["reasons"] == {reason: 1}
    (sample,) = keyed.samples()
    assert not any(part in sample["excerpt"] for part in (NEW[:4], "wrong"))
    assert producers("dead").stats().queued == producers("t").stats().queued == 0


@pytest.mark.parametrize(("data", "reason"), OTHERWISE)
def test_what_is_invalid_with_a_key_is_a_dead_letter(keyed, data, reason, producers, stored):
    assert keyed.feed(data) == reason
    producers("dead").flush()
    assert stored("dead", 1) == [(None, data.replace(NEW.encode(), b"*" * len(NEW)))]


@pytest.mark.parametrize("reason", ["garbage", "truncated", "too_large"])
def test_what_a_stream_finds_invalid_has_no_key_either(keyed, reason, producers):
    keyed.invalid(reason, b"HEP")
    assert producers("dead").stats().queued == 0


@pytest.mark.parametrize("data", [*NO_KEY[:2], *WRONG_KEY[:7]])
def test_without_keys_none_is_looked_at(producers, data):
    ingest = Ingest("hep", "u", Routes([("*", producers("t"), True)]))
    assert ingest.feed(data) is None


def test_keys_change_and_for_a_while_both_are_right(producers):
    ingest = Ingest("hep", "u", Routes([("*", producers("t"), True)]))
    old, new = packet(key(OLD), TYPE, PAYLOAD), packet(key(NEW), TYPE, PAYLOAD)
    for keys, answers in (
        ([OLD], (None, "hep_wrong_key")),
        ([OLD, NEW], (None, None)),
        ([NEW], ("hep_wrong_key", None)),
        ([], (None, None)),
    ):
        ingest.set_access(Access([], keys))
        assert (ingest.feed(old), ingest.feed(new)) == answers


def test_datagrams_with_and_without_a_key(producers):
    ingest = Ingest("hep", "u", Routes([("*", producers("t"), True)]), access=Access(["127.0.0.1"], [NEW]))
    with receiving(ingest, "127.0.0.1") as port:
        send("127.0.0.1", port, *[RIGHT[0], NO_KEY[0], WRONG_KEY[0]] * 50)
        send("127.0.0.1", port, RIGHT[0], by="127.0.0.2")
    counts = ingest.counts()
    assert counts["reasons"] == {"hep_no_key": 50, "hep_wrong_key": 50}
    assert (counts["received"], counts["queued"], counts["refused"]) == (150, 50, 1)
