"""Where the bridge's messages go, while routes change and targets are away."""

import json
import sys
import threading
import time

import pytest

from pykafkaevt import Closed, Producer
from pykafkaevt.bridge.ingest import Ingest
from pykafkaevt.bridge.routes import Routes
from tests.unit.conftest import event


def test_the_first_pattern_that_fits_has_the_event_and_every_subscriber_too(producers, stored):
    routes = Routes(
        [("E_ACC_*", producers("acc"), True), ("E_?", producers("one"), False), ("E_*_END", producers("end"), False)],
        subscribers=[("E_ACC_CDR", producers("sub"), False), ("E_ACC_*", producers("literal"), False)],
    )
    ingest = Ingest("json", "u", routes)
    names = ["E_ACC_CDR", "E_ACC_END", "E_X", "E_XX", "E_CALL_END", "E_", "e_x"]
    reasons = [ingest.feed(event(name, callid=name)) for name in names]
    assert reasons == [None, None, None, "unrouted", None, "unrouted", "unrouted"]
    for topic, expected in (("acc", names[:2]), ("one", ["E_X"]), ("end", ["E_CALL_END"]), ("sub", ["E_ACC_CDR"])):
        producers(topic).flush()
        assert [json.loads(value)["method"] for _, value in stored(topic, len(expected))] == expected
    assert producers("literal").stats().queued == 0
    counts = ingest.counts()
    assert (counts["queued"], counts["unrouted"], counts["invalid"]) == (4, 3, 0)
    assert counts["events"] == dict.fromkeys(names, 1)
    assert [one["event"] for one in ingest.last_events()] == names[::-1]


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


def test_a_subscriber_that_is_away_drops_and_holds_up_nobody(producers, stored):
    with Producer("kafka:127.0.0.1:1/t?g.queue.buffering.max.messages=1&g.log_level=0") as away:
        ingest = Ingest("json", "u", Routes([("*", producers("t"), True)], subscribers=[("E", away, False)]))
        assert [ingest.feed(event("E", callid=str(n))) for n in range(3)] == [None] * 3
        assert (away.stats().queued, away.stats().dropped) == (1, 2)
        away.purge()
    producers("t").flush()
    assert len(stored("t", 3)) == 3


def test_what_a_closed_subscriber_or_closed_dead_letters_do_not_get_is_counted_as_dropped(producers):
    subscriber, dead = producers("subscriber"), producers("dead")
    routes = Routes([("*", producers("t"), True)], dead_letter=dead, subscribers=[("E", subscriber, False)])
    ingest = Ingest("json", "u", routes)
    messages = [event("E"), b"no event", event("E")]
    for message in messages:
        ingest.feed(message)
    subscriber.close()
    dead.close()
    for message in messages:
        ingest.feed(message)
    assert [(one.stats().queued, one.stats().dropped) for one in (subscriber, dead)] == [(2, 2), (1, 1)]
    assert ingest.counts()["queued"] == 4


def test_old_routes_are_let_go_without_being_asked_for(producers):
    producer = producers("t")
    ingest = Ingest("json", "u", Routes([("*", producer, True)]))
    ingest.feed(event("E"))
    before = sys.getrefcount(producer)
    for _ in range(1000):
        ingest.set_routes(Routes([("*", producer, True)]))
    assert sys.getrefcount(producer) == before


def test_routes_in_use_are_let_go_when_their_batch_is_done(producers):
    producer, away = producers("t"), Producer("kafka:127.0.0.1:1/t?g.queue.buffering.max.messages=1&g.log_level=0")
    unused, routes = sys.getrefcount(away), Routes([("*", away, True)])
    ingest = Ingest("json", "u", routes)
    thread = feeding(ingest, 2, 2)
    before = sys.getrefcount(producer)
    for _ in range(100):
        ingest.set_routes(Routes([("*", producer, True)]))
    # those in use, and the newest
    assert sys.getrefcount(producer) <= before + 2
    assert ingest.uses(routes)
    routes.abandon()
    thread.join(10)
    assert not ingest.uses(routes)
    del routes
    assert sys.getrefcount(away) == unused
    away.purge()
    away.close()


def test_a_name_with_a_nul_is_not_what_stands_before_it(producers):
    routes = Routes([("E_?", producers("t"), False)], subscribers=[("E", producers("sub"), False)])
    ingest = Ingest("json", "u", routes)
    assert [ingest.feed(event(name)) for name in ("E_\0", "E\0", "E_1\0")] == [None, "unrouted", "unrouted"]
    assert producers("sub").stats().queued == 0
