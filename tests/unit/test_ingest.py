"""One message through the bridge: what is queued of it, with which key, and what is counted and answered."""

import threading
import time

import pytest

from pykafkaevt import Closed, Error, Producer
from pykafkaevt.bridge.ingest import Ingest
from pykafkaevt.bridge.routes import Routes
from pykafkaevt.clients import ClientPool
from pykafkaevt.options import ProducerOptions
from pykafkaevt.sockets import parse_socket
from tests.unit.conftest import PROMPT, event


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
    assert ingest.feed(message) is None
    producers("t").flush()
    assert stored("t", 1) == [(key, message)]


def test_a_target_that_is_not_keyed_gets_no_key(producers, stored):
    ingest = Ingest("json", "u", Routes([("*", producers("t"), False)]))
    assert ingest.feed(event("E", callid="a")) is None
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
    assert ingest.feed(message, "192.0.2.1:5060") == reason
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


def test_more_names_than_are_counted_are_counted_together(producers):
    ingest = Ingest("json", "u", Routes([("*", producers("t"), False)]))
    for n in range(500):
        ingest.feed(event(f"E_{n}"))
    events = ingest.counts()["events"]
    assert sum(events.values()) == 500
    assert events.pop("(other)") == 500 - 192
    assert set(events) == {f"E_{n}" for n in range(500 - 192, 500)}


def test_a_flood_of_names_keeps_out_no_real_one(producers):
    ingest = Ingest("json", "u", Routes([("*", producers("t"), False)]))
    for n in range(2000):
        ingest.feed(event(f"flood {n}"))
        if n % 100 == 0:
            ingest.feed(event("E_OFTEN"))
    ingest.feed(event("E_AFTER"))
    events = ingest.counts()["events"]
    assert (events["E_OFTEN"], events["E_AFTER"]) == (20, 1)
    assert sum(events.values()) == 2021
    # what was thrown out comes in again, with what it has from then on
    ingest.feed(event("flood 0"))
    assert ingest.counts()["events"]["flood 0"] == 1


def test_plain_objects_become_the_parameters_of_the_method(producers, stored):
    ingest = Ingest("plain", "stdin:", Routes([("*", producers("t"), True)]), method='E_"X"')
    assert ingest.feed(b'{"callid": "a", "n": 1}') is None
    assert ingest.feed(b"[1]") == "not_object"
    producers("t").flush()
    assert stored("t", 1) == [(b"a", b'{"jsonrpc":"2.0","method":"E_\\"X\\"","params":{"callid": "a", "n": 1}}')]


@pytest.mark.parametrize(
    ("kind", "options"), [("xml", {}), ("json", {"method": "E"}), ("plain", {}), ("plain", {"method": "x" * 256})]
)
def test_wrong_arguments_raise_value_error(producers, kind, options):
    with pytest.raises(ValueError):  # noqa: PT011
        Ingest(kind, "u", Routes([("*", producers("t"), True)]), **options)


def test_on_report_is_called_once(producers):
    producer, reports = producers("t", PROMPT + "&g.message.max.bytes=1000"), []
    ingest = Ingest("json", "u", Routes([("*", producer, True)]))
    assert ingest.feed(event("E", callid="a"), on_report=reports.append) is None
    assert ingest.feed(event("E", callid="b" * 2000), on_report=reports.append) is None
    assert ingest.feed(event("E", callid="b" * 2000)) == "rejected"
    assert ingest.feed(b"x", on_report=lambda error: reports.append("never")) == "syntax"
    producers("t").flush()
    rejected, delivered = sorted(reports, key=lambda error: error is None)
    assert delivered is None
    assert "large" in str(rejected)
    assert ingest.counts()["reasons"] == {"rejected": 2, "syntax": 1}


def test_a_rejected_record_is_dead_lettered_once(producers, kafka_embedded, consume):
    routes = Routes([("*", producers("t", PROMPT + "&g.message.max.bytes=1000"), True)], dead_letter=producers("dead"))
    ingest = Ingest("json", "u", routes)
    message = event("E", callid="b" * 2000)
    assert ingest.feed(message) == "rejected"
    producers("dead").flush()
    (record,) = consume(kafka_embedded.bootstrap_servers, "dead", 1)
    assert (record.value(), dict(record.headers())["reason"]) == (message, b"rejected")
    assert producers("dead").stats().queued == 1


def test_on_report_of_a_rejected_record_may_feed(producers):
    ingest = Ingest("json", "u", Routes([("*", producers("t", PROMPT + "&g.message.max.bytes=1000"), True)]))
    answers = []
    ingest.feed(event("E", callid="b" * 2000), on_report=lambda error: answers.append(ingest.feed(event("E"))))
    assert answers == [None]


def test_counts_add_up_whatever_becomes_of_the_messages(producers):
    with Producer("kafka:127.0.0.1:1/t?g.queue.buffering.max.messages=1&g.log_level=0") as away:
        small = producers("t", PROMPT + "&g.message.max.bytes=1000")
        ingest = Ingest("json", "u", Routes([("E_AWAY", away, True), ("E", small, True)]), max_size=5000)
        fed = [
            (event("E"), None),
            (event("E", text="x" * 2000), "rejected"),
            (event("E", text="x" * 6000), "too_large"),
            (event("E_OTHER"), "unrouted"),
            (b"{", "syntax"),
            (event("E_AWAY"), None),
        ]
        assert [ingest.feed(message) for message, _ in fed] == [reason for _, reason in fed]
        ingest.invalid("garbage", b"x")
        answers = []
        thread = threading.Thread(target=lambda: answers.append(ingest.feed(event("E_AWAY"))))
        thread.start()
        while not ingest.progress()[1]:
            time.sleep(0.01)
        ingest.abort()
        thread.join(10)
        assert answers == ["abandoned"]
        counts = ingest.counts()
        reasons = dict.fromkeys(("rejected", "too_large", "syntax", "garbage", "abandoned"), 1)
        assert counts["reasons"] == reasons
        assert (counts["received"], counts["queued"], counts["unrouted"], counts["invalid"]) == (8, 2, 1, 5)
        assert counts["received"] == counts["queued"] + counts["unrouted"] + counts["invalid"]
        assert not ingest.progress()[1]
        away.purge()


def test_a_second_thread_is_turned_away_while_one_waits():
    with Producer("kafka:127.0.0.1:1/t?g.queue.buffering.max.messages=1&g.log_level=0") as away:
        ingest = Ingest("json", "u", Routes([("*", away, True)]))
        ingest.feed(event("E"))
        thread = threading.Thread(target=ingest.feed, args=(event("E"),))
        thread.start()
        while not ingest.progress()[1]:
            time.sleep(0.01)
        for call, arguments in ((ingest.feed, (b"x",)), (ingest.invalid, ("r", b"x")), (ingest.receive, (0,))):
            with pytest.raises(Error, match="another thread"):
                call(*arguments)
        ingest.abort()
        thread.join(10)
        with pytest.raises(Closed):
            ingest.feed(event("E"))
        away.purge()


def test_without_init_there_is_an_exception_or_a_working_object(producers):
    for made in (Ingest, Routes):
        with pytest.raises(TypeError):
            made.__new__(made)

    class Own(Ingest):
        def __init__(self, *_arguments):
            pass

    class OwnRoutes(Routes):
        def __init__(self, *_arguments):
            pass

    ingest = Own("json", "u", OwnRoutes([("*", producers("t"), True)]))
    assert ingest.feed(event("E")) is None
    assert ingest.counts()["queued"] == 1


@pytest.mark.parametrize("target", [None, object(), "t"])
def test_a_target_must_be_a_producer(target):
    with pytest.raises(TypeError):
        Routes([("*", target, True)])


def test_a_fatal_error_makes_no_valid_event_invalid(kafka_embedded):
    """Dead letters go by the same client; the case dead_letter_same_client hung for ever."""
    pool = ClientPool(ProducerOptions())
    sockets = [parse_socket(f"kafka:{kafka_embedded.bootstrap_servers}/{topic}") for topic in ("t", "dead")]
    to, dead = (pool.borrow(socket) for socket in sockets)
    assert to.client is dead.client
    ingest = Ingest("json", "u", Routes([("*", to, False)], dead_letter=dead))
    ends, fed, errors = time.monotonic() + 3, 0, 0.0
    while time.monotonic() < ends:
        if time.monotonic() > errors:
            kafka_embedded.push_errors("InitProducerId", [31])
            errors = time.monotonic() + 0.3
        assert ingest.feed(event("E", n=fed)) is None
        assert ingest.feed(b"x") == "syntax"
        fed += 1
    counts = ingest.counts()
    assert (counts["queued"], counts["reasons"]) == (fed, {"syntax": fed})
    pool.close(5)
