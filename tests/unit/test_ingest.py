"""Messages through the bridge's receive loop: what is queued where, with which key, and what is counted."""

import json
import socket
import struct
import threading
import time

import pytest

from pykafkaevt import Closed, Producer
from pykafkaevt.bridge.ingest import Ingest
from pykafkaevt.bridge.routes import Routes

KEYED = "g.linger.ms=0&g.enable.idempotence=false"


@pytest.fixture
def producers(kafka_embedded):
    """producer(topic): a Producer on the embedded broker."""
    made = {}

    def producer(topic, properties=KEYED):
        if topic not in made:
            made[topic] = Producer(f"kafka:{kafka_embedded.bootstrap_servers}/{topic}?{properties}")
        return made[topic]

    yield producer
    for one in made.values():
        one.close()


@pytest.fixture
def stored(kafka_embedded, consume):
    """stored(topic, count): (key, value) of the records of a topic."""

    def read(topic, count):
        return [(message.key(), message.value()) for message in consume(kafka_embedded.bootstrap_servers, topic, count)]

    return read


def event(name, **params):
    return json.dumps({"jsonrpc": "2.0", "method": name, "params": params}).encode()


@pytest.mark.parametrize(
    ("message", "key"),
    [
        (b'{"jsonrpc":"2.0","method":"E","params":{"callid":"a@b"}}', b"a@b"),
        (b' {"params" : {"x": [1, {"callid": "no"}], "callid":"a" } , "method":"E"}\n', b"a"),
        (b'{"method":"E","params":{"Call-ID":"c","call_id":"b"}}', b"b"),
        (b'{"method":"E","params":{"callid":"a\\u0040\\"b"}}', b'a@"b'),
        (b'{"method":"E","params":{"callid":17}}', b"17"),
        (b'{"method":"E","params":{"callid":null}}', None),
        (b'{"method":"E","params":{"callid":""}}', None),
        (b'{"method":"E","params":["a"]}', None),
        (b'{"method":"E"}', None),
        ('{"method":"E","params":{"callid":"é€"}}'.encode(), "é€".encode()),
    ],
)
def test_a_message_is_queued_as_it_came_keyed_by_its_field(producers, stored, message, key):
    ingest = Ingest("json", "udp://h:1", Routes([("*", producers("t"), True)]))
    assert ingest.feed(message)
    producers("t").flush()
    assert stored("t", 1) == [(key, message)]


def test_a_target_that_is_not_keyed_gets_no_key(producers, stored):
    ingest = Ingest("json", "u", Routes([("*", producers("t"), False)]))
    assert ingest.feed(event("E", callid="a"))
    producers("t").flush()
    assert stored("t", 1)[0][0] is None


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"", "empty"),
        (b"hello", "syntax"),
        (b'{"method":"E"', "syntax"),
        (b'{"method":"E"} x', "trailing"),
        (b"[1]", "not_object"),
        (b'{"params":{}}', "no_method"),
        (b'{"method":7}', "bad_method"),
        (b'{"method":""}', "bad_method"),
        (b'{"method":"E","params":{"x":"\xff"}}', "not_utf8"),
        (b'{"method":"E","params":"' + b"x" * 200 + b'"}', "too_large"),
    ],
)
def test_an_invalid_message_is_counted_by_reason_sampled_and_dead_lettered(
    producers, kafka_embedded, consume, message, reason
):
    routes = Routes([("*", producers("t"), True)], dead_letter=producers("dead"))
    ingest = Ingest("json", "udp://h:1", routes, max_size=200)
    assert not ingest.feed(message, "192.0.2.1:5060")
    counts = ingest.counts()
    assert (counts["received"], counts["queued"], counts["invalid"]) == (1, 0, 1)
    assert counts["reasons"] == {reason: 1}
    (sample,) = ingest.samples()
    assert (sample["reason"], sample["source"], sample["size"]) == (reason, "192.0.2.1:5060", len(message))
    assert sample["excerpt"] == repr(message[:200])[2:-1]
    assert ingest.samples() == []
    producers("dead").flush()
    (record,) = consume(kafka_embedded.bootstrap_servers, "dead", 1)
    assert (record.value() or b"") == message
    assert dict(record.headers()) == {"reason": reason.encode(), "source": b"192.0.2.1:5060", "input": b"udp://h:1"}
    assert len(producers("t")) == 0


def test_the_first_pattern_that_fits_has_the_event_and_every_subscriber_too(producers, stored):
    routes = Routes(
        [("E_ACC_*", producers("acc"), True), ("E_?", producers("one"), False), ("E_*_END", producers("end"), False)],
        subscribers=[("E_ACC_CDR", producers("sub"), False), ("E_ACC_*", producers("literal"), False)],
    )
    ingest = Ingest("json", "u", routes)
    names = ["E_ACC_CDR", "E_ACC_END", "E_X", "E_XX", "E_CALL_END", "E_", "e_x"]
    taken = [ingest.feed(event(name, callid=name)) for name in names]
    assert taken == [True, True, True, False, True, False, False]
    for topic, expected in (("acc", names[:2]), ("one", ["E_X"]), ("end", ["E_CALL_END"]), ("sub", ["E_ACC_CDR"])):
        producers(topic).flush()
        assert [json.loads(value)["method"] for _, value in stored(topic, len(expected))] == expected
    assert producers("literal").stats().queued == 0
    counts = ingest.counts()
    assert (counts["queued"], counts["unrouted"], counts["invalid"]) == (4, 3, 0)
    assert counts["events"] == dict.fromkeys(names, 1)
    assert [one["event"] for one in ingest.last_events()] == names[::-1]


def test_more_names_than_are_counted_are_counted_together(producers):
    ingest = Ingest("json", "u", Routes([("*", producers("t"), False)]))
    for n in range(500):
        ingest.feed(event(f"E_{n}"))
    events = ingest.counts()["events"]
    assert sum(events.values()) == 500
    assert events["(other)"] == 500 - (len(events) - 1)


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        ("1790000000", 1790000000000),
        ("1790000000.25", 1790000000250),
        ("1790000000123", 1790000000123),
        ("1790000000123456", 1790000000123),
        ("1790000000123456789", 1790000000123),
        ('"1790000000"', 1790000000000),
    ],
)
def test_the_time_field_becomes_the_timestamp(producers, kafka_embedded, consume, value, ms):
    ingest = Ingest("json", "u", Routes([("*", producers("t"), False)], time_field="time"))
    assert ingest.feed(b'{"method":"E","params":{"time":%s}}' % value.encode())
    producers("t").flush()
    (record,) = consume(kafka_embedded.bootstrap_servers, "t", 1)
    assert record.timestamp()[1] == ms


@pytest.mark.parametrize("value", ["0", "-1", "null", "12", '"noon"', "1e300", "{}"])
def test_what_is_no_time_leaves_the_timestamp_to_now(producers, kafka_embedded, consume, value):
    ingest = Ingest("json", "u", Routes([("*", producers("t"), False)], time_field="time"))
    assert ingest.feed(b'{"method":"E","params":{"time":%s}}' % value.encode())
    producers("t").flush()
    (record,) = consume(kafka_embedded.bootstrap_servers, "t", 1)
    assert abs(record.timestamp()[1] / 1000 - time.time()) < 60


def test_basic_headers(producers, kafka_embedded, consume):
    ingest = Ingest("json", "u", Routes([("*", producers("t"), False)], headers="basic"))
    assert ingest.feed(event("E_X"), "192.0.2.1:9")
    producers("t").flush()
    (record,) = consume(kafka_embedded.bootstrap_servers, "t", 1)
    assert record.headers() == [
        ("event", b"E_X"),
        ("source", b"192.0.2.1:9"),
        ("content-type", b"application/json"),
    ]


def test_cloudevents_headers_have_an_id_of_their_own(producers, kafka_embedded, consume):
    ingest = Ingest("json", "u", Routes([("*", producers("t"), False)], headers="cloudevents"))
    for _ in range(3):
        assert ingest.feed(event("E_X"), "192.0.2.1:9")
    producers("t").flush()
    headers = [dict(record.headers()) for record in consume(kafka_embedded.bootstrap_servers, "t", 3)]
    assert len({one.pop("ce_id") for one in headers}) == 3
    assert (
        headers
        == [
            {
                "ce_specversion": b"1.0",
                "ce_source": b"192.0.2.1:9",
                "ce_type": b"E_X",
                "content-type": b"application/json",
            }
        ]
        * 3
    )


def test_plain_objects_become_the_parameters_of_the_method(producers, stored):
    ingest = Ingest("plain", "stdin:", Routes([("*", producers("t"), True)]), method='E_"X"')
    assert ingest.feed(b'{"callid": "a", "n": 1}')
    assert not ingest.feed(b"[1]")
    producers("t").flush()
    assert stored("t", 1) == [(b"a", b'{"jsonrpc":"2.0","method":"E_\\"X\\"","params":{"callid": "a", "n": 1}}')]


@pytest.mark.parametrize(
    ("kind", "options"), [("xml", {}), ("json", {"method": "E"}), ("plain", {}), ("plain", {"method": "x" * 256})]
)
def test_wrong_arguments_are_refused(producers, kind, options):
    with pytest.raises(ValueError):  # noqa: PT011
        Ingest(kind, "u", Routes([("*", producers("t"), True)]), **options)


def test_each_report_is_told_once(producers):
    told, ingest = [], Ingest("json", "u", Routes([("*", producers("t", KEYED + "&g.message.max.bytes=1000"), True)]))
    assert ingest.feed(event("E", callid="a"), on_report=told.append)
    assert ingest.feed(event("E", callid="b" * 2000), on_report=told.append)
    assert not ingest.feed(b"x", on_report=lambda error: told.append("never"))
    producers("t").flush()
    refused, delivered = sorted(told, key=lambda error: error is None)
    assert delivered is None
    assert "large" in str(refused)
    assert ingest.counts()["reasons"] == {"refused": 1, "syntax": 1}


def test_a_subscriber_that_is_away_drops_and_holds_up_nobody(producers, stored):
    with Producer("kafka:127.0.0.1:1/t?g.queue.buffering.max.messages=1&g.log_level=0") as away:
        ingest = Ingest("json", "u", Routes([("*", producers("t"), True)], subscribers=[("E", away, False)]))
        assert all(ingest.feed(event("E", callid=str(n))) for n in range(3))
        assert (away.stats().queued, away.stats().dropped) == (1, 2)
        away.purge()
    producers("t").flush()
    assert len(stored("t", 3)) == 3


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


def test_new_routes_hold_from_the_next_message_on(producers, stored):
    before, after = (Routes([("*", producers(topic), True)]) for topic in ("before", "after"))
    ingest = Ingest("json", "u", before)
    ingest.feed(event("E", callid="1"))
    ingest.set_routes(after)
    assert not ingest.uses(before)
    ingest.feed(event("E", callid="2"))
    for topic, key in (("before", b"1"), ("after", b"2")):
        producers(topic).flush()
        assert [key for key, _ in stored(topic, 1)] == [key]


def feeding(ingest, count, received):
    """A thread that feeds events with the Call-IDs 0, 1, …, of which so many were received."""
    thread = threading.Thread(target=lambda: [ingest.feed(event("E", callid=str(n))) for n in range(count)])
    thread.start()
    while ingest.counts()["received"] < received:
        time.sleep(0.01)
    return thread


def test_who_waits_for_a_target_that_is_away_goes_by_the_new_routes(producers, stored):
    away = Producer("kafka:127.0.0.1:1/t?g.queue.buffering.max.messages=2&g.log_level=0")
    before, after = Routes([("*", away, True)]), Routes([("*", producers("t"), True)])
    ingest = Ingest("json", "u", before)
    thread = feeding(ingest, 5, 3)
    ingest.set_routes(after)
    assert ingest.uses(before)
    before.abandon()
    thread.join(10)
    assert not ingest.uses(before)
    producers("t").flush()
    assert sorted(key for key, _ in stored("t", 3)) == [b"2", b"3", b"4"]
    assert ingest.counts()["queued"] == 5
    away.purge()
    away.close()


def test_abort_ends_waiting_and_what_no_queue_took_is_counted():
    with Producer("kafka:127.0.0.1:1/t?g.queue.buffering.max.messages=1&g.log_level=0") as away:
        ingest = Ingest("json", "u", Routes([("*", away, True)]))
        thread = feeding(ingest, 2, 2)
        ingest.abort()
        thread.join(10)
        counts = ingest.counts()
        assert (counts["queued"], counts["reasons"]) == (1, {"abandoned": 1})
        with pytest.raises(Closed):
            ingest.feed(event("E"))
        away.purge()


def test_closing_a_producer_ends_the_wait_for_its_room(producers, stored):
    away = Producer("kafka:127.0.0.1:1/t?g.queue.buffering.max.messages=1&g.log_level=0")
    before, after = Routes([("*", away, True)]), Routes([("*", producers("t"), True)])
    ingest = Ingest("json", "u", before)
    thread = feeding(ingest, 3, 2)
    ingest.set_routes(after)
    away.close(0)
    thread.join(10)
    producers("t").flush()
    assert sorted(key for key, _ in stored("t", 2)) == [b"1", b"2"]
