"""The Event Interface under load and across processes, against a real Kafka."""

import base64
import json
import multiprocessing
import os
import threading
import time
from pathlib import Path

import pytest

from pykafkaevt import EmbeddedBroker, EventInterface, EventTemplate, Producer

GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "golden_jsonrpc.json").read_text())
EVENTS = int(os.environ.get("PYKAFKAEVT_TEST_EVENTS", "20000"))  # of each thread, and of each process
TEMPLATE = EventTemplate("E_TEST", ["who", "n"])


def test_opensips_events_arrive_byte_for_byte(kafka, topic, consume):
    vectors = [vector for vector in GOLDEN if vector["faithful"]]
    with EventInterface() as interface:
        event = interface.publish_event("E_TEST")
        interface.subscribe_event("E_TEST", f"kafka:{kafka}/{topic}?key=callid")
        for vector in vectors:
            members = ",".join(f"{json.dumps(name)}:{json.dumps(value)}" for name, value in vector["params"])
            assert interface.raise_event(event, f"{{{members}}}" if members else None, call_id=vector["name"]) == 1
    stored = {record.key().decode(): record.value() for record in consume(kafka, topic, len(vectors))}
    assert stored == {vector["name"]: base64.b64decode(vector["payload_b64"]) for vector in vectors}


@pytest.mark.timeout(900)
def test_eight_threads_raise_to_three_subscribers_on_two_clusters(kafka, topic, consume):
    threads = 8
    with (
        EmbeddedBroker() as other,
        EventInterface(producer_options={"on_full": "block", "full_timeout": None}) as interface,
    ):
        event = interface.publish_event("E_TEST", ["who", "n"])
        sockets = [f"kafka:{kafka}/{topic}?key=callid", f"kafka:{kafka}/{topic}-2?key=callid"]
        for socket in (*sockets, f"kafka:{other.bootstrap_servers}/t?key=callid"):
            interface.subscribe_event("E_TEST", socket)

        def work(who):
            half = EVENTS // 2
            results = {interface.raise_event(event, (who, n), call_id=who) for n in range(half)}
            assert results == {3}
            rest = [(who, n) for n in range(half, EVENTS)]
            assert interface.raise_many(event, rest, call_ids=[who] * len(rest)) == 3 * len(rest)

        workers = [threading.Thread(target=work, args=(f"thread {n}",)) for n in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert interface.flush(600) == 0
        stats = interface.stats()
    total = threads * EVENTS
    assert (stats.raised, stats.queued, stats.delivered) == (total, 3 * total, 3 * total)
    assert (stats.failed, stats.dropped, stats.errors) == (0, 0, {})
    expected = {
        f"thread {n}".encode(): [TEMPLATE.dumps(f"thread {n}", i) for i in range(EVENTS)] for n in range(threads)
    }
    for name in (topic, f"{topic}-2"):
        by_key = {}
        for record in consume(kafka, name, total, 300):
            by_key.setdefault(record.key(), []).append(record.value())
        assert by_key == expected


def in_child(socket, who, count, close):
    producer = Producer(socket)
    producer.emit_many(TEMPLATE, [(who, n) for n in range(count)], key_field="who")
    if close:
        producer.close()


@pytest.mark.timeout(600)
def test_forked_children_and_their_parent_deliver_all_once(kafka, topic, consume):
    with EventInterface(producer_options={"on_full": "block", "full_timeout": None}) as interface:
        event = interface.publish_event("E_TEST", ["who", "n"])
        interface.subscribe_event("E_TEST", f"kafka:{kafka}/{topic}?key=callid")

        def raise_all(who):
            return interface.raise_many(event, [(who, n) for n in range(EVENTS)], call_ids=[who] * EVENTS)

        # records of the parent are under way while it forks
        assert raise_all("parent") == EVENTS
        children = []
        for n in range(4):
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    code = 0 if raise_all(f"child {n}") == EVENTS and interface.flush(120) == 0 else 2
                finally:
                    os._exit(code)
            children.append(pid)
        deadline = time.monotonic() + 300
        codes = []
        for pid in children:
            ended = 0
            while not ended and time.monotonic() < deadline:
                ended, status = os.waitpid(pid, os.WNOHANG)
                time.sleep(0.01)
            codes.append(os.waitstatus_to_exitcode(status) if ended else os.kill(pid, 9))
        assert codes == [0] * 4
        assert interface.flush(120) == 0
        assert interface.stats().delivered == EVENTS
    by_key = {}
    for record in consume(kafka, topic, 5 * EVENTS, 120):
        by_key.setdefault(record.key().decode(), []).append(record.value())
    assert by_key == {
        who: [TEMPLATE.dumps(who, n) for n in range(EVENTS)] for who in ("parent", *(f"child {n}" for n in range(4)))
    }


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("close", [True, False], ids=["closed", "left open"])
def test_processes_of_multiprocessing_deliver_before_they_end(kafka, topic, consume, method, close):
    context = multiprocessing.get_context(method)
    socket = f"kafka:{kafka}/{topic}?g.linger.ms=50"
    with Producer(socket) as producer:
        producer.publish(b"parent", b"parent")
        processes = [context.Process(target=in_child, args=(socket, f"child {n}", 100, close)) for n in range(2)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(60)
        assert [process.exitcode for process in processes] == [0, 0]
    stored = [record.value() for record in consume(kafka, topic, 201)]
    assert sorted(stored) == sorted(
        [b"parent", *(TEMPLATE.dumps(f"child {c}", n) for c in range(2) for n in range(100))]
    )
