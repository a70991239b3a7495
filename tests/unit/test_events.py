"""The Event Interface on the embedded broker: subscriptions, their expiry, and what reaches whom."""

import base64
import json
import threading
import time
from pathlib import Path

import pytest

from pykafkaevt import (
    Closed,
    ConfigError,
    EventError,
    EventInterface,
    SerializeError,
    SerializeTypeError,
    SocketError,
    dumps,
)

GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "golden_jsonrpc.json").read_text())
TWICE = b'{"jsonrpc":"2.0","method":"E_A","params":{"a":"1","a":"2","o":{"x":[1,{"y":null}]}}}'
DEAD = "kafka:127.0.0.1:1/dead?g.log_level=0&g.queue.buffering.max.messages=10"


@pytest.fixture
def interface():
    made = EventInterface()
    yield made
    made.close(0)


@pytest.fixture
def socket(kafka_embedded):
    """A socket of a topic on the embedded broker, with more properties behind it."""
    fixed = "g.linger.ms=0&g.enable.idempotence=false"
    return lambda topic, more="": f"kafka:{kafka_embedded.bootstrap_servers}/{topic}?{fixed}{more}"


def wait_until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def test_an_event_published_again_is_the_same(interface):
    event = interface.publish_event("E_A", ["callid"])
    assert interface.publish_event("E_A") is event
    assert interface.publish_event("E_A", ["callid"]) is event
    assert (event.name, event.id, event.template.fields, event.has_subscribers) == ("E_A", 1, ("callid",), False)
    assert interface.publish_event("E_B").template is None
    assert interface.events_list() == {"Events": [{"name": "E_A", "id": 1}, {"name": "E_B", "id": 2}]}
    with pytest.raises(ValueError, match="other fields"):
        interface.publish_event("E_A", ["other"])


def test_of_too_many_events_the_oldest_without_subscribers_are_forgotten(interface, socket):
    for name in "ABCDE":
        interface.publish_event(name)
        interface.raise_event(name)
    interface.subscribe_event("A", socket("t"))
    interface.subscribe_event("B", socket("t"), 0.01)
    time.sleep(0.02)
    interface.forget_events(3, {"C"})
    assert [one["name"] for one in interface.events_list()["Events"]] == ["A", "C", "E"]
    interface.forget_events(0, "C")
    assert [one["name"] for one in interface.events_list()["Events"]] == ["A", "C"]
    assert interface.publish_event("B").id == 6
    assert interface.stats().raised == 5


def test_an_event_reaches_each_subscriber_with_the_key_it_asked_for(interface, socket, kafka_embedded, consume):
    interface.publish_event("E_A")
    interface.subscribe_event("E_A", socket("keyed", "&key=callid"))
    interface.subscribe_event("E_A", socket("plain"))
    invite = b"INVITE sip:b@x SIP/2.0\r\ni: from-message\r\n\r\n"
    assert interface.raise_event("E_A", {"n": 1}, call_id="given") == 2
    assert interface.raise_event("E_A", {"n": 2}, sip_message=invite) == 2
    assert interface.raise_event("E_A", {"n": 3}) == 2
    assert interface.raise_event("E_A", {"n": 4}, call_id="given", sip_message=invite) == 2
    assert interface.flush(30) == 0
    keys = {1: b"given", 2: b"from-message", 3: None, 4: b"given"}
    for topic in ("keyed", "plain"):
        stored = {message.value(): message.key() for message in consume(kafka_embedded.bootstrap_servers, topic, 4)}
        assert stored == {dumps("E_A", {"n": n}): keys[n] if topic == "keyed" else None for n in keys}


@pytest.mark.parametrize(
    ("fields", "params", "stored"),
    [
        (None, None, dumps("E_A")),
        (None, {"a": 1, "b": "x"}, dumps("E_A", {"a": 1, "b": "x"})),
        (None, ["a", 1], dumps("E_A", ["a", 1])),
        (None, '{"n":5060}', dumps("E_A", {"n": 5060})),
        (None, '{ "a": "1", "a": "2", "o": {"x": [1, {"y": null}]} }', TWICE),
        (None, "[1, 2.5]", dumps("E_A", [1, 2.5])),
        (["a", "b"], (1, "x"), dumps("E_A", {"a": 1, "b": "x"})),
        (["a", "b"], [1, "x"], dumps("E_A", {"a": 1, "b": "x"})),
        (["a", "b"], {"other": 1}, dumps("E_A", {"other": 1})),
        (["a", "b"], None, dumps("E_A")),
    ],
)  # fmt: skip
def test_parameters_in_each_form(interface, socket, kafka_embedded, consume, fields, params, stored):
    interface.publish_event("E_A", fields)
    interface.subscribe_event("E_A", socket("t"))
    assert interface.raise_event("E_A", params) == 1
    interface.flush(30)
    assert [message.value() for message in consume(kafka_embedded.bootstrap_servers, "t", 1)] == [stored]


@pytest.mark.parametrize(
    ("params", "error"),
    [
        (5, SerializeTypeError),
        ({"a": object()}, SerializeTypeError),
        ((1, 2, 3), SerializeError),
        ("5", ValueError),
        ("{broken", ValueError),
        ({1: 2}, SerializeTypeError),
    ],
)
def test_bad_parameters_are_refused_and_queue_nothing(interface, socket, params, error):
    interface.publish_event("E_A", ["a", "b"])
    interface.subscribe_event("E_A", socket("t"))
    with pytest.raises(error):
        interface.raise_event("E_A", params)
    assert interface.raise_event("E_A", (1, 2)) == 1
    interface.flush(30)
    assert interface.stats().queued == 1


def test_subscribing_the_same_socket_again_refreshes_it(interface, socket):
    interface.publish_event("E_A")
    interface.subscribe_event("E_A", socket("t", "&t.acks=all"), 10)
    # the same properties in another order, as OpenSIPS would double it
    same = socket("t").replace("?", "?t.acks=all&")
    interface.subscribe_event("E_A", same, 600)
    (listed,) = interface.subscribers_list("E_A")["Event"]["Subscribers"]
    assert (listed["expire"], listed["ttl"]) == (600, 600)
    interface.subscribe_event("E_A", same)
    (listed,) = interface.subscribers_list("E_A")["Event"]["Subscribers"]
    assert listed["expire"] == "never"
    assert "ttl" not in listed
    interface.subscribe_event("E_A", socket("t"))
    assert len(interface.subscribers_list("E_A")["Event"]["Subscribers"]) == 2
    assert interface.raise_event("E_A") == 2


def test_lists_have_the_shapes_of_opensips(interface, socket, kafka_embedded):
    address = kafka_embedded.bootstrap_servers
    interface.publish_event("E_NOBODY")
    interface.publish_event("E_TEST")
    interface.subscribe_event("E_TEST", socket("T"), 600)
    interface.subscribe_event("E_TEST", socket("T2", "&key=callid"))
    one = {"socket": f"kafka:{address}/T", "expire": 600, "ttl": 600}
    two = {"socket": f"kafka:{address}/T2", "expire": "never"}
    event = {"name": "E_TEST", "id": 2, "Subscribers": [one, two]}
    assert interface.subscribers_list() == {"Events": [event]}
    assert interface.subscribers_list("E_TEST") == {"Event": event}
    # OpenSIPS answers 404 here: its defect
    for text in (f"kafka:{address}/T", socket("T")):
        assert interface.subscribers_list("E_TEST", text) == {"Event": {**event, "Subscribers": [one]}}
    assert interface.subscribers_list("E_NOBODY") == {"Event": {"name": "E_NOBODY", "id": 1, "Subscribers": []}}


@pytest.mark.parametrize(
    ("call", "error", "code"),
    [
        (lambda i: i.subscribe_event("E_NONE", "kafka:h/t"), EventError, 400),
        (lambda i: i.unsubscribe_event("E_NONE", "kafka:h/t"), EventError, 404),
        (lambda i: i.unsubscribe_event("E_A", "kafka:h/t"), EventError, 404),
        (lambda i: i.raise_event("E_NONE"), EventError, 404),
        (lambda i: i.raise_many("E_NONE", []), EventError, 404),
        (lambda i: i.subscribers_list("E_NONE"), EventError, 404),
        (lambda i: i.subscribers_list("E_A", "kafka:h/none"), EventError, 404),
        (lambda i: i.subscribe_event("E_A", "kafka:h/t", -1), ValueError, None),
        (lambda i: i.subscribe_event("E_A", "kafka:h/"), SocketError, None),
        (lambda i: i.subscribe_event("E_A", "kafka:h/t?g.nonsense=1"), ConfigError, None),
        (lambda i: i.subscribe_event("E_A", "kafka:h/t?t.nonsense=1"), ConfigError, None),
        (lambda i: i.publish_event(""), SerializeError, None),
        (lambda i: i.raise_event("E_A", report=5), TypeError, None),
        (lambda i: EventInterface(producer_options={"on_full": "explode"}), ValueError, None),
    ],
)
def test_errors_are_those_of_opensips(interface, call, error, code):
    interface.publish_event("E_A")
    with pytest.raises(error) as caught:
        call(interface)
    assert getattr(caught.value, "code", None) == code
    assert interface.subscribers_list() == {"Events": []}


def test_a_subscription_expires_when_raised_or_listed_and_by_itself(interface, socket):
    event = interface.publish_event("E_A")
    interface.subscribe_event("E_A", socket("short"), 0.3)
    interface.subscribe_event("E_A", socket("long"), 60)
    assert interface.raise_event(event) == 2
    time.sleep(0.35)
    assert interface.raise_event(event) == 1
    interface.subscribe_event("E_A", socket("short"), 0.2)
    interface.subscribe_event("E_A", socket("long"), 0)
    assert event.has_subscribers
    started = time.monotonic()
    assert wait_until(lambda: not event.has_subscribers)
    assert time.monotonic() - started < 1.2
    assert interface.raise_event(event) == 0
    assert interface.subscribers_list() == {"Events": []}


def test_zero_expire_ends_a_subscription_and_unsubscribe_too(interface, socket):
    event = interface.publish_event("E_A")
    interface.subscribe_event("E_A", socket("t"))
    interface.subscribe_event("E_A", socket("t"), 0)
    assert not event.has_subscribers
    interface.subscribe_event("E_A", socket("t"), 0)
    interface.subscribe_event("E_A", socket("t"))
    interface.unsubscribe_event("E_A", socket("t"))
    assert not event.has_subscribers


@pytest.mark.parametrize("many", [False, True])
def test_a_subscriber_that_leaves_while_its_queue_is_full_is_no_failure(many):
    interface = EventInterface(producer_options={"on_full": "block", "full_timeout": None})
    interface.publish_event("E_A", ["a"])
    interface.subscribe_event("E_A", DEAD)
    for n in range(10):
        assert interface.raise_event("E_A", [n]) == 1
    told = []
    work = (lambda: interface.raise_many("E_A", [[1], [2]])) if many else (lambda: interface.raise_event("E_A", [1]))
    raiser = threading.Thread(target=lambda: told.append(work()))
    raiser.start()
    time.sleep(0.2)
    assert raiser.is_alive()
    interface.unsubscribe_event("E_A", DEAD)
    raiser.join(20)
    assert told == [0]
    interface.close(0)


def test_what_was_queued_is_delivered_after_unsubscribing(interface, socket, kafka_embedded, consume):
    interface.publish_event("E_A")
    slow = socket("t").replace("g.linger.ms=0", "g.linger.ms=200")
    interface.subscribe_event("E_A", slow)
    interface.raise_event("E_A", {"n": 1})
    interface.unsubscribe_event("E_A", slow)
    assert [message.value() for message in consume(kafka_embedded.bootstrap_servers, "t", 1)]
    assert wait_until(lambda: interface.stats().delivered == 1)
    assert interface.stats().producers == {}


def test_topics_of_one_cluster_share_a_client_and_others_do_not(interface, socket):
    def clients():
        held = [one.producer.client for name in "abc" for one in interface.publish_event(name).subscriptions]
        return len(set(map(id, held)))

    for name in "abc":
        interface.publish_event(name)
    interface.subscribe_event("a", socket("one"))
    interface.subscribe_event("b", socket("two", "&key=callid"))
    assert clients() == 1
    interface.subscribe_event("c", socket("one", "&key=callid"))
    assert clients() == 1
    # librdkafka has one set of properties per topic and client
    interface.subscribe_event("c", socket("one", "&t.compression.codec=gzip"))
    assert clients() == 2
    interface.subscribe_event("c", socket("three", "&g.client.id=other"))
    assert clients() == 3
    assert interface.raise_many("c", [{}] * 10) == 30
    assert interface.flush(30) == 0


def test_a_dead_subscriber_holds_back_once_and_the_others_get_all(interface, socket, kafka_embedded, consume, caplog):
    interface.publish_event("E_A")
    interface.subscribe_event("E_A", DEAD)
    interface.subscribe_event("E_A", socket("alive"))
    started = time.monotonic()
    results = [interface.raise_event("E_A", {"n": n}) for n in range(100)]
    assert interface.raise_many("E_A", [{"n": n} for n in range(100, 1000)]) == 900
    assert time.monotonic() - started < 5
    assert results == [2] * 10 + [-1] * 90
    stored = [message.value() for message in consume(kafka_embedded.bootstrap_servers, "alive", 1000)]
    assert sorted(stored) == sorted(dumps("E_A", {"n": n}) for n in range(1000))
    stats = interface.stats()
    assert (stats.raised, stats.queued, stats.dropped) == (1000, 1010, 990)
    assert interface.close(0.1) == 10
    stats = interface.stats()
    assert (stats.delivered, stats.failed, stats.in_flight) == (1000, 10, 0)


def test_the_report_of_an_event_comes_once_per_subscriber(interface, socket, caplog):
    reports = []

    def report(delivered):
        reports.append((delivered.error, delivered.key, delivered.value))
        raise RuntimeError("report broken")

    interface.publish_event("E_A")
    interface.subscribe_event("E_A", socket("one"))
    interface.subscribe_event("E_A", socket("two", "&key=callid"))
    interface.raise_event("E_A", {"n": 1}, call_id="c", report=report)
    interface.flush(30)
    value = dumps("E_A", {"n": 1})
    assert sorted(reports, key=repr) == sorted([(None, None, value), (None, b"c", value)], key=repr)
    assert "report broken" in caplog.text


@pytest.mark.parametrize("fields", [None, ["callid", "n"]])
def test_raise_many_keeps_rows_in_order_with_their_keys(interface, socket, kafka_embedded, consume, fields):
    event = interface.publish_event("E_A", fields)
    interface.subscribe_event("E_A", socket("keyed", "&key=callid"))
    interface.subscribe_event("E_A", socket("plain"))
    rows = [(f"call é {n % 3}", n) if fields else {"callid": f"call é {n % 3}", "n": n} for n in range(2000)]
    keys = [f"call é {n % 3}" for n in range(2000)]
    assert interface.raise_many(event, iter(rows), call_ids=keys) == 4000
    assert interface.flush(30) == 0
    expected = {}
    for n, key in enumerate(keys):
        expected.setdefault(key.encode(), []).append(dumps("E_A", {"callid": key, "n": n}))
    by_key = {}
    for message in consume(kafka_embedded.bootstrap_servers, "keyed", 2000):
        by_key.setdefault(message.key(), []).append(message.value())
    assert by_key == expected
    plain = consume(kafka_embedded.bootstrap_servers, "plain", 2000)
    assert sorted(message.value() for message in plain) == sorted(
        value for values in expected.values() for value in values
    )
    assert {message.key() for message in plain} == {None}


@pytest.mark.parametrize("bad", [0, 511, 512, 900])
def test_rows_before_a_bad_one_are_raised_and_none_behind(interface, socket, bad):
    event = interface.publish_event("E_A", ["n"])
    interface.subscribe_event("E_A", socket("t"))
    rows = [(n,) for n in range(1000)]
    rows[bad] = (object(),)
    with pytest.raises(SerializeTypeError, match=f"row {bad}: 'n'") as caught:
        interface.raise_many(event, rows)
    assert caught.value.queued == bad
    with pytest.raises(ValueError, match="keys must have one item for each of the 1000 records"):
        interface.raise_many(event, [(n,) for n in range(1000)], call_ids=["k"] * 5)
    interface.flush(30)
    assert interface.stats().delivered == bad


def test_large_events_are_raised_in_smaller_batches(interface, socket, kafka_embedded, consume):
    event = interface.publish_event("E_A", ["text"])
    interface.subscribe_event("E_A", socket("t"))
    assert interface.raise_many(event, [("x" * 20_000,)] * 150) == 150
    interface.flush(30)
    consume(kafka_embedded.bootstrap_servers, "t", 150)


def test_after_close_every_call_says_closed(interface, socket):
    event = interface.publish_event("E_A")
    interface.subscribe_event("E_A", socket("t"), 60)
    interface.raise_event(event)
    assert interface.close() == 0
    assert interface.close() == 0
    for call in (
        lambda: interface.publish_event("E_B"),
        lambda: interface.subscribe_event("E_A", socket("t")),
        lambda: interface.unsubscribe_event("E_A", socket("t")),
        lambda: interface.raise_event(event),
        lambda: interface.raise_many(event, []),
        interface.flush,
    ):
        with pytest.raises(Closed):
            call()
    assert interface.stats().delivered == 1


def test_opensips_events_in_the_forms_mi_takes(interface, socket, kafka_embedded, consume):
    interface.publish_event("E_TEST")
    interface.subscribe_event("E_TEST", socket("t", "&key=callid"))
    vectors = {vector["name"]: vector for vector in GOLDEN if vector["faithful"]}
    for name, vector in vectors.items():
        members = ",".join(f"{json.dumps(member)}: {json.dumps(value)}" for member, value in vector["params"])
        interface.raise_event(vector["event"], "{" + members + "}" if members else None, call_id=name)
    interface.flush(30)
    stored = consume(kafka_embedded.bootstrap_servers, "t", len(vectors))
    assert {message.key().decode(): message.value() for message in stored} == {
        name: base64.b64decode(vector["payload_b64"]) for name, vector in vectors.items()
    }


def test_many_threads_subscribe_raise_and_unsubscribe(interface, socket):
    """Raised while subscriptions come and go: each call's result is what was queued."""
    event = interface.publish_event("E_A", ["n"])
    interface.subscribe_event("E_A", socket("always"))
    done = threading.Event()
    queued = []

    def churn():
        while not done.is_set():
            interface.subscribe_event("E_A", socket("sometimes", "&g.client.id=x"), 0.01)
            interface.subscribe_event("E_A", socket("always2"))
            interface.subscribe_event("E_A", socket("always2"), 0)

    def work():
        queued.append(sum(interface.raise_event(event, (n,)) for n in range(2000)))

    threads = [threading.Thread(target=work) for _ in range(4)]
    churner = threading.Thread(target=churn)
    for thread in [*threads, churner]:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    churner.join()
    assert interface.flush(30) == 0
    assert wait_until(lambda: interface.stats().in_flight == 0)
    stats = interface.stats()
    assert stats.queued == stats.delivered == sum(queued) >= 8000
    assert stats.raised == 8000


def test_a_million_refreshes_grow_nothing(interface, socket):
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    from pykafkaevt import parse_socket

    event = interface.publish_event("E_A")
    parsed = parse_socket(socket("t"))
    for turn in range(20):
        for _ in range(50_000):
            interface.subscribe_event("E_A", parsed, 600)
        if turn == 1:
            before = resident()
    assert resident() - before < 5_000_000
    assert len(event.subscriptions) == 1
