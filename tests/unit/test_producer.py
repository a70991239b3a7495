"""The producer against the embedded broker: what is queued is what is read back, and every record is accounted for."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import confluent_kafka
import pytest

from pykafkaevt import (
    Closed,
    ConfigError,
    DeliveryError,
    Error,
    EventTemplate,
    Producer,
    QueueFull,
    SerializeError,
    SerializeTypeError,
)

TOO_LARGE = b"x" * 2_000_000  # above message.max.bytes, 1,000,000 by default
MSG_SIZE_TOO_LARGE = 10
TEMPLATE = EventTemplate("E_TEST", ["callid", "n"])


@pytest.fixture
def socket(kafka_embedded):
    kafka_embedded.create_topic("t", 4)
    # idempotence would add its half second of start to every test; those of order and faults have it
    return f"kafka:{kafka_embedded.bootstrap_servers}/t?g.linger.ms=1&g.enable.idempotence=false"


@pytest.fixture
def read(kafka_embedded, consume):
    """Read `count` records of topic t back."""
    return lambda count: consume(kafka_embedded.bootstrap_servers, "t", count)


def values(messages):
    return sorted(message.value() for message in messages)


def report_threads():
    return sum(thread.name.startswith("pykafkaevt reports") for thread in threading.enumerate())


def accounted(stats):
    return stats.queued == stats.delivered + stats.failed + stats.in_flight


@pytest.mark.parametrize(
    ("value", "key", "stored_value", "stored_key"),
    [
        (b"v", b"k", b"v", b"k"),
        ("v", "k", b"v", b"k"),
        ("é€😀", "ключ", "é€😀".encode(), "ключ".encode()),
        (b"", b"", b"", b""),
        (None, "tombstone", None, b"tombstone"),
        (b"no key", None, b"no key", None),
        (bytearray(b"array"), memoryview(b"view"), b"array", b"view"),
        (b"\x00\xff binary", b"\x00\xff", b"\x00\xff binary", b"\x00\xff"),
        ("\udcff surrogate", None, "\ufffd surrogate".encode(), None),
    ],
)
def test_a_record_is_stored_as_given(socket, read, value, key, stored_value, stored_key):
    with Producer(socket) as producer:
        assert producer.publish(value, key)
        assert producer.publish_many([value], [key]) == 1
    for message in read(2):
        assert (message.value(), message.key()) == (stored_value, stored_key)


def test_headers_timestamp_and_partition_reach_the_record(socket, read):
    headers = [("source", b"10.0.0.1"), ("empty", b""), ("null", None), ("text", "é")]
    with Producer(socket) as producer:
        producer.publish(b"one", headers=headers, timestamp_ms=1234567890123, partition=2)
        producer.publish_many([b"two", b"three"], headers=headers, timestamps_ms=[1, 2])
        producer.emit_many(TEMPLATE, [("c", 1)], key_field="callid", headers=headers, timestamps_ms=[3])
    stored = {message.value(): message for message in read(4)}
    assert stored[b"one"].partition() == 2
    assert stored[b"one"].timestamp()[1] == 1234567890123
    event = TEMPLATE.dumps("c", 1)
    assert [stored[value].timestamp()[1] for value in (b"two", b"three", event)] == [1, 2, 3]
    assert stored[event].key() == b"c"
    for message in stored.values():
        assert message.headers() == [("source", b"10.0.0.1"), ("empty", b""), ("null", None), ("text", "é".encode())]


@pytest.mark.parametrize(
    ("callid", "key"),
    [
        ("a", b"a"),
        ('a"\\\n', b'a"\\\n'),
        ("é", "é".encode()),
        (None, None),
        (b"\xff", b"\xff"),
        (7, b"7"),
        (2**70, b"%d" % 2**70),
    ],
)
def test_key_field_makes_the_key_of_the_plain_value(socket, read, callid, key):
    with Producer(socket) as producer:
        producer.emit_many(TEMPLATE, [(callid, 1)], key_field="callid")
    (message,) = read(1)
    assert message.key() == key
    assert message.value() == TEMPLATE.dumps(callid, 1)


def test_emit_and_emit_many_store_the_templates_bytes_in_order(socket, read):
    with Producer(socket) as producer:
        for n in range(100):
            assert producer.emit(TEMPLATE, "one call", n, key="one call")
        rows = (["one call", n] if n % 2 else ("one call", n) for n in range(100, 3000))
        assert producer.emit_many(TEMPLATE, rows, key_field="callid") == 2900
        assert producer.emit_many(TEMPLATE, [("one call", 3000)], keys=["one call"]) == 1
    assert [message.value() for message in read(3001)] == [TEMPLATE.dumps("one call", n) for n in range(3001)]


def test_large_events_go_in_smaller_batches(socket, read):
    rows = [("x" * 20_000, n) for n in range(200)]
    with Producer(socket) as producer:
        assert producer.emit_many(TEMPLATE, rows) == 200
    assert values(read(200)) == sorted(TEMPLATE.dumps(*row) for row in rows)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda p: p.emit(TEMPLATE, "one"), SerializeError),
        (lambda p: p.emit(TEMPLATE, "one", 2, 3), SerializeError),
        (lambda p: p.emit(TEMPLATE, "one", object()), SerializeTypeError),
        (lambda p: p.emit("E_TEST", 1), TypeError),
        (lambda p: p.emit_many(TEMPLATE, [("a", 1)], key_field="no such"), SerializeError),
        (lambda p: p.emit_many(TEMPLATE, [("a", 1)], key_field="n", keys=["k"]), TypeError),
        (lambda p: p.emit_many(TEMPLATE, [("a", 1)], keys=["k", "k"]), ValueError),
        (lambda p: p.emit_many(TEMPLATE, ["a1"]), SerializeTypeError),
        (lambda p: p.publish(5), SerializeTypeError),
        (lambda p: p.publish(b"v", 5), SerializeTypeError),
        (lambda p: p.publish_many([b"v"], "k"), ValueError),
        (lambda p: p.publish_many([b"v", b"v"], timestamps_ms=[1]), ValueError),
        (lambda p: p.publish_many(None), TypeError),
        (lambda p: p.publish(b"v", headers=[("h", b"v")] * 65), ValueError),
        (lambda p: p.publish(TOO_LARGE), DeliveryError),
        (lambda p: p.emit(TEMPLATE, TOO_LARGE.decode(), 1), DeliveryError),
        (lambda p: p.publish(TOO_LARGE, timestamp_ms=1), DeliveryError),
    ],
)
def test_bad_input_is_refused_and_the_producer_goes_on(socket, read, call, error):
    with Producer(socket) as producer:
        producer.publish(b"before")
        with pytest.raises(error):
            call(producer)
        producer.publish(b"behind")
        assert producer.flush(10) == 0
        assert producer.stats().queued == producer.stats().delivered == 2
    assert values(read(2)) == [b"before", b"behind"]


@pytest.mark.parametrize("bad", [0, 1, 511, 512, 700])
def test_rows_before_a_bad_one_are_queued_and_none_behind(socket, read, bad):
    rows = [("c", n) for n in range(1000)]
    rows[bad] = ("c", object())
    with Producer(socket) as producer, pytest.raises(SerializeTypeError, match=rf"row {bad}: 'n'") as caught:
        producer.emit_many(TEMPLATE, rows)
    assert caught.value.queued == bad
    assert values(read(bad)) == sorted(TEMPLATE.dumps("c", n) for n in range(bad))


def test_a_generator_that_fails_loses_no_row_it_gave(socket, read):
    def rows():
        for n in range(600):
            yield ("c", n)
        raise RuntimeError("source gone")

    with Producer(socket) as producer, pytest.raises(RuntimeError, match="source gone"):
        producer.emit_many(TEMPLATE, rows())
    read(600)


def test_a_record_too_large_in_a_batch_is_left_out_for_itself(socket, read):
    batches, errors = [], []
    with Producer(socket, on_delivery=batches.append, on_error=errors.append) as producer:
        assert producer.publish_many([b"a", TOO_LARGE, b"b"]) == 2
        assert [error.code for error in errors] == [MSG_SIZE_TOO_LARGE]
        assert "record 1 of the call" in str(errors[0])
        assert producer.publish_many([b"c", TOO_LARGE, b"d"], report=True, opaques=["c", "large", "d"]) == 2
        producer.flush()
        stats = producer.stats()
        assert (stats.queued, stats.delivered, stats.rejected, stats.errors) == (4, 4, 2, {MSG_SIZE_TOO_LARGE: 2})
    reports = {report.opaque: report for batch in batches for report in batch}
    assert reports.keys() == {"c", "large", "d"}
    assert reports["large"].error.code == MSG_SIZE_TOO_LARGE
    assert reports["large"].value == TOO_LARGE
    assert reports["c"].error is None
    assert values(read(4)) == [b"a", b"b", b"c", b"d"]


def test_reports_come_for_the_records_that_asked(socket):
    kept, seen = [], []

    def on_delivery(batch):
        kept.append(batch)
        seen.extend(batch)

    with Producer(socket, on_delivery=on_delivery) as producer:
        producer.publish(b"silent", b"k")
        producer.publish(b"loud", b"k", report=True, opaque="o")
        producer.publish_many([b"x", None], [None, b"k"], report=True, opaques=[1, 2])
        producer.emit(TEMPLATE, "c", 1, key="k", report=True)
        producer.emit_many(TEMPLATE, [("c", 2)], report=True, opaques=[{"any": "object"}])
        assert producer.flush() == 0
        stats = producer.stats()
    assert (stats.delivered, stats.batches > 0, stats.bytes_delivered) == (
        6,
        True,
        len(b"silentkloudkxk" + TEMPLATE.dumps("c", 1) + b"k" + TEMPLATE.dumps("c", 2)),
    )
    expected = [
        (b"k", b"loud", "o"),
        (None, b"x", 1),
        (b"k", None, 2),
        (b"k", TEMPLATE.dumps("c", 1), None),
        (None, TEMPLATE.dumps("c", 2), {"any": "object"}),
    ]
    # a batch kept beyond its callback shows the same
    for reports in (seen, [report for batch in kept for report in batch]):
        found = [(report.key, report.value, report.opaque) for report in reports]
        assert sorted(found, key=repr) == sorted(expected, key=repr)
        assert all(report.error is None and report.offset >= 0 and report.partition >= 0 for report in reports)
    for batch in kept:
        assert batch.ok
        columns = (batch.error_codes, batch.partitions, batch.offsets, batch.latencies_us)
        assert [len(column) for column in columns] == [len(batch)] * 4
        assert all(column.readonly for column in columns)
        assert [(r.error, r.partition, r.offset, r.latency_us, r.opaque) for r in batch] == [
            (None, *row) for row in zip(*columns[1:], batch.opaques, strict=True)
        ]
        assert all(0 < latency < 10_000_000 for latency in batch.latencies_us)


def test_an_exception_in_on_delivery_is_logged_and_stops_nothing(socket, caplog):
    calls = []

    def on_delivery(batch):
        calls.append(len(batch))
        raise RuntimeError("handler broken")

    with Producer(socket, on_delivery=on_delivery) as producer:
        for _ in range(3):
            producer.publish(b"v", report=True)
            producer.flush()
    assert calls == [1, 1, 1]
    assert "handler broken" in caplog.text


def test_what_would_wait_for_itself_in_on_delivery_is_refused(socket):
    errors = []

    def on_delivery(batch):
        for call in (producer.flush, producer.close):
            try:
                call()
            except Error as error:
                errors.append(str(error))

    producer = Producer(socket, on_delivery=on_delivery)
    producer.publish(b"v", report=True)
    producer.flush()
    producer.close()
    assert len(errors) == 2
    assert all("on_delivery" in error for error in errors)


def test_records_may_be_queued_inside_on_delivery(socket, read):
    def on_delivery(batch):
        if len(producer) < 3:
            producer.publish(b"second")

    with Producer(socket, on_delivery=on_delivery) as producer:
        producer.publish(b"first", report=True)
        producer.flush()
        producer.flush()
    assert values(read(2)) == [b"first", b"second"]


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"socket": "kafka:h/t?g.nonsense=1"}, ConfigError, "g.nonsense"),
        ({"socket": "kafka:h/t?g.linger.ms=abc"}, ConfigError, "g.linger.ms"),
        ({"socket": "kafka:h/t?t.acks=many"}, ConfigError, "t.acks"),
        ({"socket": "kafka:h/t?t.linger.ms.typo=1"}, ConfigError, "t.linger.ms.typo"),
        ({"socket": "kafka:h/t?g.ssl.ca.location=/nowhere&g.security.protocol=ssl"}, ConfigError, "g.ssl.ca.location"),
        ({"socket": "kafka:h/t", "on_full": "explode"}, ValueError, "on_full"),
        ({"socket": "kafka:h/t", "invalid": "guess"}, ValueError, "invalid"),
        ({"socket": "kafka:h/t", "on_delivery": 5}, TypeError, "on_delivery"),
    ],
)
def test_bad_arguments_name_what_is_wrong(arguments, error, text):
    threads = report_threads()
    with pytest.raises(error, match=text):
        Producer(**arguments)
    assert report_threads() == threads


def test_a_secret_that_librdkafka_refuses_is_not_shown(tmp_path):
    keystore = tmp_path / "keystore.p12"
    keystore.write_bytes(b"no keystore")
    with pytest.raises(ConfigError) as caught:
        Producer(
            f"kafka:h/t?g.security.protocol=ssl&g.ssl.keystore.location={keystore}&g.ssl.keystore.password=hunter2"
        )
    assert "hunter2" not in str(caught.value) + repr(caught.value)
    with Producer("kafka:h/t?g.sasl.password=hunter2&g.log_level=0") as producer:
        assert "hunter2" not in repr(producer) + str(producer.socket) + repr(producer.socket)


def test_making_a_producer_does_not_wait_for_a_broker():
    started = time.monotonic()
    producer = Producer("kafka:127.0.0.1:1/t?g.log_level=0")
    producer.publish(b"v")
    assert time.monotonic() - started < 2
    assert producer.close(0.1) == 1
    stats = producer.stats()
    assert (stats.failed, stats.in_flight, sum(stats.errors.values())) == (1, 0, 1)


def test_after_close_every_call_says_closed(socket):
    producer = Producer(socket)
    producer.publish(b"v")
    assert producer.close() == 0
    assert producer.close() == 0
    assert producer.closed
    for call in (
        lambda: producer.publish(b"v"),
        lambda: producer.publish_many([b"v"]),
        lambda: producer.emit(TEMPLATE, "c", 1),
        lambda: producer.emit_many(TEMPLATE, [("c", 1)]),
        producer.flush,
        producer.purge,
    ):
        with pytest.raises(Closed):
            call()
    assert producer.stats().delivered == 1


def test_no_thread_stays_behind(socket):
    before = report_threads()
    for _ in range(3):
        with Producer(socket) as producer:
            producer.publish(b"v")
    assert report_threads() == before


def test_a_producer_that_was_dropped_still_delivers_and_ends(socket, read):
    seen = []
    before = report_threads()
    Producer(socket, on_delivery=seen.extend).publish(b"v", report=True)
    gc.collect()
    read(1)
    deadline = time.monotonic() + 10
    while (not seen or report_threads() > before) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [report.value for report in seen] == [b"v"]
    assert report_threads() == before


def test_many_threads_keep_each_ones_order(socket, read):
    with Producer(socket + "&g.queue.buffering.max.messages=2000") as producer:

        def work(name):
            for n in range(500):
                producer.emit(TEMPLATE, name, n, key=name)
            producer.emit_many(TEMPLATE, [(name, n) for n in range(500, 3000)], key_field="callid")

        threads = [threading.Thread(target=work, args=(f"thread {i}",)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        producer.flush()
        assert producer.stats().delivered == 24_000
    by_key = {}
    for message in read(24_000):
        by_key.setdefault(message.key(), []).append(message.value())
    assert by_key == {f"thread {i}".encode(): [TEMPLATE.dumps(f"thread {i}", n) for n in range(3000)] for i in range(8)}


def small_queue(broker, topic, records):
    properties = f"g.queue.buffering.max.messages={records}&g.log_level=0&g.reconnect.backoff.max.ms=200"
    return f"kafka:{broker.bootstrap_servers}/{topic}?{properties}"


def exit_code(pid, seconds=30):
    """The child's exit code; one that hangs is ended and fails the test."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return "hung"


def test_a_forked_child_has_its_own_connection(socket, read):
    with Producer(socket) as producer:
        for n in range(100):
            producer.publish(b"parent %d" % n)
        pid = os.fork()
        if pid == 0:
            done = 1
            try:
                assert len(producer) == 0
                producer.publish_many([b"child %d" % n for n in range(100)])
                left = producer.flush(20)
                print("child:", left, producer.stats(), file=sys.stderr, flush=True)
                done = 0 if left == 0 and producer.stats().delivered == 100 else 2
            finally:
                os._exit(done)
        assert exit_code(pid) == 0
        assert producer.flush() == 0
        assert producer.stats().delivered == 100
    assert values(read(200)) == sorted([b"%s %d" % (who, n) for n in range(100) for who in (b"parent", b"child")])


def test_confluent_kafka_works_beside_it_on_the_same_library(socket, read, kafka_embedded):
    other = confluent_kafka.Producer({"bootstrap.servers": kafka_embedded.bootstrap_servers})
    with Producer(socket) as producer:
        other.produce("t", b"confluent")
        producer.publish(b"pykafkaevt")
        assert other.flush(10) == 0
    assert values(read(2)) == [b"confluent", b"pykafkaevt"]
    mapped = Path("/proc/self/maps").read_text().splitlines()
    libraries = {line.split()[-1] for line in mapped if "/librdkafka" in line}
    assert len(libraries) == 1


def test_kafka_embedded_works_wherever_a_socket_does(consume):
    with Producer("kafka:embedded/somewhere") as producer, Producer("embedded/somewhere") as same:
        assert producer.bootstrap_servers == same.bootstrap_servers
        producer.publish(b"one")
        same.publish(b"two")
        producer.flush()
        same.flush()
        assert values(consume(producer.bootstrap_servers, "somewhere", 2)) == [b"one", b"two"]


def test_rdkafka_stats_are_librdkafkas(socket):
    with Producer(socket + "&g.statistics.interval.ms=50") as producer:
        producer.publish(b"v")
        deadline = time.monotonic() + 10
        while not producer.rdkafka_stats() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert producer.rdkafka_stats()["client_id"] == "pykafkaevt"


def run(script, *arguments, **options):
    return subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=60, check=False, **options
    )


def test_leaving_the_interpreter_flushes(socket, read):
    done = run("import sys, pykafkaevt; pykafkaevt.Producer(sys.argv[1]).publish(b'last words')", socket)
    assert (done.returncode, done.stderr) == (0, "")
    assert values(read(1)) == [b"last words"]


def test_leaving_the_interpreter_says_what_was_not_delivered():
    script = """
import pykafkaevt
producer = pykafkaevt.Producer("kafka:127.0.0.1:1/t?g.log_level=0", name="acc")
producer.exit_timeout = 0.3
producer.publish_many([b"v"] * 7)
"""
    started = time.monotonic()
    done = run(script)
    assert time.monotonic() - started < 20
    assert "pykafkaevt: acc: 7 records were not delivered within 0.3 s at exit" in done.stderr


@pytest.mark.parametrize(
    "call",
    [
        "producer.flush()",
        "producer.publish_many([b'v'] * 100)",
        "[producer.publish(b'v') for _ in range(100)]",
    ],
)
def test_ctrl_c_ends_a_blocking_call(call):
    script = f"""
import os, signal, threading, time, pykafkaevt
producer = pykafkaevt.Producer("kafka:127.0.0.1:1/t?g.log_level=0&g.queue.buffering.max.messages=10")
producer.publish(b"v")
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
started = time.monotonic()
try:
    {call}
except KeyboardInterrupt:
    print("interrupted", time.monotonic() - started < 5, len(producer) > 0)
producer.close(0)
"""
    done = run(script)
    assert done.stdout == "interrupted True True\n", done.stderr


def test_memory_does_not_grow_with_records(socket):
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    rows = [(f"call {n % 100}", n) for n in range(20_000)]
    with Producer(socket, on_delivery=lambda batch: None) as producer:
        for turn in range(12):
            producer.emit_many(TEMPLATE, rows, key_field="callid", report=True, opaques=rows)
            producer.flush()
            if turn == 3:
                before = resident()
        assert resident() - before < 30_000_000
    assert all(sys.getrefcount(row) < 10 for row in rows)


def test_queue_full(kafka_embedded, consume):
    """The broker is away and the queue holds 10: what each on_full does, and that nothing is lost when it is back."""
    kafka_embedded.create_topic("full", 1)
    socket = small_queue(kafka_embedded, "full", 10)
    dropping = Producer(socket, on_full="drop")
    raising = Producer(socket, on_full="raise")
    waiting = Producer(socket, on_full="block", full_timeout=0.3)
    kafka_embedded.set_down(1)
    assert dropping.publish_many([b"d%d" % n for n in range(15)]) == 10
    assert dropping.publish(b"dropped") is False
    assert dropping.stats().dropped == 6

    with pytest.raises(QueueFull) as caught:
        raising.publish_many([b"r%d" % n for n in range(15)])
    assert caught.value.queued == 10
    with pytest.raises(QueueFull):
        raising.emit(TEMPLATE, "c", 1)

    started = time.monotonic()
    with pytest.raises(QueueFull) as caught:
        waiting.publish_many([b"w%d" % n for n in range(15)])
    assert caught.value.queued == 10
    assert 0.2 < time.monotonic() - started < 5

    blocked = Producer(socket)
    done = threading.Thread(target=blocked.publish_many, args=([b"b%02d" % n for n in range(50)],))
    done.start()
    time.sleep(0.2)
    assert done.is_alive()
    assert len(blocked) == 10
    kafka_embedded.set_up(1)
    done.join(30)
    assert not done.is_alive()
    for producer in (dropping, raising, waiting, blocked):
        assert producer.flush(30) == 0
        assert accounted(producer.stats())
        producer.close()
    stored = [message.value() for message in consume(kafka_embedded.bootstrap_servers, "full", 80)]
    assert [value for value in stored if value.startswith(b"b")] == [b"b%02d" % n for n in range(50)]
    assert len(stored) == len(set(stored))


def test_closing_wakes_a_call_that_waits_for_room(kafka_embedded):
    kafka_embedded.set_down(1)
    producer = Producer(f"kafka:{kafka_embedded.bootstrap_servers}/t?g.queue.buffering.max.messages=10&g.log_level=0")
    outcome = []

    def work():
        try:
            producer.publish_many([b"v"] * 100)
        except Closed:
            outcome.append("closed")

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.2)
    left = producer.close(0.1)
    thread.join(10)
    assert outcome == ["closed"]
    stats = producer.stats()
    assert left >= 10
    assert (stats.in_flight, accounted(stats), stats.failed) == (0, True, stats.queued)


def test_purge_gives_each_record_its_report(kafka_embedded):
    kafka_embedded.set_down(1)
    seen = []
    with Producer(f"kafka:{kafka_embedded.bootstrap_servers}/t?g.log_level=0", on_delivery=seen.extend) as producer:
        producer.publish_many([b"v"] * 1000, report=True, opaques=range(1000))
        producer.purge()
        assert producer.flush(10) == 0
        assert producer.stats().failed == 1000
    assert sorted(report.opaque for report in seen) == list(range(1000))
    assert {report.error.code for report in seen} <= {-152, -151}


def test_error_events_reach_on_error(kafka_embedded):
    kafka_embedded.set_down(1)
    errors = []
    with Producer(f"kafka:{kafka_embedded.bootstrap_servers}/t?g.log_level=0", on_error=errors.append) as producer:
        producer.publish(b"v")
        deadline = time.monotonic() + 10
        while not errors and time.monotonic() < deadline:
            time.sleep(0.01)
        producer.purge()
    assert errors
    assert all(isinstance(error, DeliveryError) and error.code < 0 for error in errors)


def test_a_full_queue_in_the_middle_of_a_large_batch_queues_nothing_twice(kafka_embedded, consume):
    kafka_embedded.create_topic("large", 1)
    kafka_embedded.set_down(1)
    socket = small_queue(kafka_embedded, "large", 100)
    seen = []
    with Producer(socket, on_full="raise", on_delivery=seen.extend) as producer:
        with pytest.raises(QueueFull) as caught:
            producer.emit_many(TEMPLATE, [("x" * 10_000, n) for n in range(300)], report=True, opaques=range(300))
        assert caught.value.queued == 100
        kafka_embedded.set_up(1)
        assert producer.flush(30) == 0
    assert sorted(report.opaque for report in seen) == list(range(100))
    consume(kafka_embedded.bootstrap_servers, "large", 100)


def test_a_caller_lets_the_reports_catch_up_but_does_not_wait_for_a_broker_that_is_away(kafka_embedded):
    kafka_embedded.create_topic("t", 1)
    socket = f"kafka:{kafka_embedded.bootstrap_servers}/t?g.enable.idempotence=false&g.log_level=0&g.linger.ms=0"
    with Producer(socket, pace=1) as producer:
        producer.publish(b"warm")
        producer.flush()
        kafka_embedded.set_rtt_ms(1, 5)
        lasted = []
        for _ in range(5):
            producer.publish(b"as many as the pace")
            started = time.monotonic()
            producer.publish(b"one more than the pace, so the call lasts until a report, or 10 ms")
            lasted.append(time.monotonic() - started)
            producer.flush()
        assert max(lasted) > 0.004
        kafka_embedded.set_down(1)
        started = time.monotonic()
        producer.publish_many([b"v"] * 50_000)
        assert time.monotonic() - started < 5
        assert len(producer) == 50_000
        producer.purge()
