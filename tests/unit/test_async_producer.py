"""The producer for asyncio on the embedded broker."""

import asyncio
import gc
import logging
import os
import threading
import time
import weakref
from contextlib import suppress

import pytest

from pykafkaevt import AsyncProducer, Closed, DeliveryError, EventTemplate, QueueFull, SerializeTypeError

TEMPLATE = EventTemplate("E_TEST", ["callid", "n"])
TOO_LARGE = b"x" * 2_000_000


@pytest.fixture
def socket(kafka_embedded):
    kafka_embedded.create_topic("t", 4)
    return f"kafka:{kafka_embedded.bootstrap_servers}/t?g.linger.ms=1&g.enable.idempotence=false"


def test_awaiting_a_call_gives_its_report(socket, kafka_embedded, consume):
    async def main():
        async with AsyncProducer(socket) as producer:
            one = await producer.publish(b"v", "k", headers=[("h", b"1")], partition=2)
            two = await producer.emit(TEMPLATE, "c", 1, key="c")
            reports = await asyncio.gather(*(producer.publish(b"%d" % n) for n in range(500)))
            assert producer.stats().delivered == 502
            assert len(producer) == 0
            return one, two, reports

    one, two, reports = asyncio.run(main())
    assert (one.error, one.partition, one.key, one.value) == (None, 2, b"k", b"v")
    assert (two.error, two.key, two.value) == (None, b"c", TEMPLATE.dumps("c", 1))
    assert [report.value for report in reports] == [b"%d" % n for n in range(500)]
    consume(kafka_embedded.bootstrap_servers, "t", 502)


def test_publish_many_gives_a_batch_in_the_order_of_the_values(socket):
    async def main():
        async with AsyncProducer(socket) as producer:
            values = [b"%d" % n for n in range(2000)]
            keys = [f"k{n % 7}" for n in range(2000)]
            batch = await producer.publish_many(values, keys, timestamps_ms=range(1, 2001), opaques=range(2000))
            assert batch.ok
            assert batch.opaques == list(range(2000))
            assert [(report.key.decode(), report.value) for report in batch] == list(zip(keys, values, strict=True))
            assert all(offset >= 0 for offset in batch.offsets)
            empty = await producer.publish_many([])
            assert (len(empty), empty.ok, list(empty)) == (0, True, [])
            mixed = await producer.publish_many([b"a", TOO_LARGE, b"b"])
            assert (list(mixed.error_codes), mixed.ok) == ([0, 10, 0], False)

    asyncio.run(main())


def test_a_full_queue_is_awaited(socket):
    async def main():
        async with AsyncProducer(socket + "&g.queue.buffering.max.messages=10") as producer:
            batch = await producer.publish_many([b"%d" % n for n in range(300)])
            assert [report.value for report in batch] == [b"%d" % n for n in range(300)]
            reports = await asyncio.gather(*(producer.publish(b"v") for n in range(100)))
            assert all(report.error is None for report in reports)

    asyncio.run(main())


def test_errors_are_those_of_the_producer(socket):
    async def main():
        async with AsyncProducer(socket) as producer:
            with pytest.raises(DeliveryError):
                await producer.publish(TOO_LARGE)
            with pytest.raises(SerializeTypeError):
                await producer.publish(5)
            with pytest.raises(ValueError, match="one item for each"):
                await producer.publish_many([b"v"], [])
            assert (await producer.publish(b"goes on")).error is None
        with pytest.raises(Closed):
            await producer.publish(b"v")
        dead = AsyncProducer("kafka:127.0.0.1:1/t?g.log_level=0&g.queue.buffering.max.messages=2", full_timeout=0.2)
        waiting = [asyncio.ensure_future(dead.publish(b"v")) for _ in range(2)]
        await asyncio.sleep(0)  # both are queued before the third
        with pytest.raises(QueueFull):
            await dead.publish(b"v")
        assert await dead.close(0.1) == 2
        reports = await asyncio.gather(*waiting)
        assert all(report.error.code < 0 for report in reports)

    asyncio.run(main())


# the loop


def test_no_thread_of_the_executor_is_used(socket):
    async def main():
        loop = asyncio.get_running_loop()
        loop.run_in_executor = lambda *_: pytest.fail("the executor was asked for a thread")
        async with AsyncProducer(socket + "&g.queue.buffering.max.messages=10") as producer:
            await producer.publish_many([b"v"] * 200)
            await asyncio.gather(*(producer.publish(b"v") for _ in range(100)))
            assert await producer.flush(5) == 0

    asyncio.run(main())


def test_a_second_loop_is_an_error_and_the_first_goes_on(socket):
    producer = AsyncProducer(socket)
    raised = []

    def other_loop():
        with pytest.raises(RuntimeError, match="belongs to another event loop"):
            asyncio.run(producer.publish(b"v"))
        raised.append(True)

    async def main():
        waiting = asyncio.ensure_future(producer.publish(b"v"))
        await asyncio.sleep(0)
        thread = threading.Thread(target=other_loop)
        thread.start()
        assert (await waiting).error is None
        while thread.is_alive():
            await asyncio.sleep(0.01)

    asyncio.run(main())
    assert raised == [True]

    # a loop that is closed lets go of it
    async def next_loop():
        assert (await producer.publish(b"v")).error is None
        await producer.close()

    asyncio.run(next_loop())


def test_the_child_of_a_fork_has_a_loop_of_its_own(socket):
    producer = AsyncProducer(socket)

    async def in_child():
        report = await asyncio.wait_for(producer.publish(b"child"), 10)
        await producer.close(5)
        return report.error is None

    async def main():
        assert (await producer.publish(b"parent")).error is None
        child = os.fork()
        if child == 0:
            code = 1
            with suppress(BaseException):
                asyncio._set_running_loop(None)
                code = 0 if asyncio.run(in_child()) else 2
            os._exit(code)
        assert (await producer.publish(b"parent")).error is None
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        await producer.close()

    asyncio.run(main())


# the queue


def test_a_record_too_large_before_a_full_queue_doubles_none(socket, kafka_embedded, consume):
    values = [b"0", TOO_LARGE, *(b"%d" % n for n in range(2, 30))]

    async def main():
        async with AsyncProducer(socket + "&g.queue.buffering.max.messages=10") as producer:
            batch = await asyncio.wait_for(producer.publish_many(values), 10)
            assert [report.value for report in batch] == values
            assert [index for index, code in enumerate(batch.error_codes) if code] == [1]
            stats = producer.stats()
            assert (stats.queued, stats.delivered, stats.rejected) == (29, 29, 1)

    asyncio.run(main())
    found = [record.value() for record in consume(kafka_embedded.bootstrap_servers, "t", 29)]
    assert sorted(found) == sorted(value for value in values if value is not TOO_LARGE)


DEAD = "kafka:127.0.0.1:1/t?g.log_level=0&g.queue.buffering.max.messages=3"


@pytest.mark.parametrize("full_timeout", [0, 0.2])
def test_a_batch_that_finds_the_queue_full_says_how_far_it_came(full_timeout):
    async def main():
        producer = AsyncProducer(DEAD, full_timeout=full_timeout)
        with pytest.raises(QueueFull) as raised:
            await producer.publish_many([b"a", TOO_LARGE, b"b", b"c", b"d"])
        assert (raised.value.queued, raised.value.position) == (3, 4)
        assert await producer.close(0) == 3

    asyncio.run(main())


def test_a_bad_value_after_a_full_queue_has_its_place_in_the_whole_call(socket):
    async def main():
        async with AsyncProducer(socket + "&g.queue.buffering.max.messages=10") as producer:
            with pytest.raises(SerializeTypeError) as raised:
                await producer.publish_many([b"v"] * 25 + [5, b"after"])
            assert (raised.value.queued, raised.value.position) == (25, 25)

    asyncio.run(main())


def test_waiting_calls_keep_the_order_of_their_records(socket, kafka_embedded, consume):
    order = [b"%d" % n for n in range(300)]

    async def main():
        async with AsyncProducer(socket + "&g.queue.buffering.max.messages=5") as producer:
            await asyncio.gather(*(producer.publish(value, partition=0) for value in order))

    asyncio.run(main())
    assert [record.value() for record in consume(kafka_embedded.bootstrap_servers, "t", 300)] == order


def test_a_timeout_in_line_is_queue_full_for_each_call():
    async def main():
        producer = AsyncProducer(DEAD, full_timeout=0.2)
        started = time.monotonic()
        found = await asyncio.gather(
            *(asyncio.wait_for(producer.publish(b"v"), 1) for _ in range(10)), return_exceptions=True
        )
        assert [type(one) for one in found] == [asyncio.TimeoutError] * 3 + [QueueFull] * 7
        assert time.monotonic() - started < 5
        assert await producer.close(0) == 3

    asyncio.run(main())


def test_a_cancelled_call_breaks_nothing(socket):
    errors = []

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        async with AsyncProducer(
            socket.replace("linger.ms=1", "linger.ms=100") + "&g.queue.buffering.max.messages=10"
        ) as producer:
            calls = [asyncio.ensure_future(producer.publish(b"%d" % n)) for n in range(30)]
            calls.append(asyncio.ensure_future(producer.publish_many([b"v"] * 30)))
            await asyncio.sleep(0)
            for call in (calls[0], calls[12], calls[13], calls[-1]):
                call.cancel()
            found = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 20)
            assert sum(isinstance(one, asyncio.CancelledError) for one in found) == 4
            assert (await producer.publish(b"goes on")).error is None
            await producer.flush(5)
            stats = producer.stats()
            assert (stats.queued, stats.in_flight) == (stats.delivered, 0)

    asyncio.run(main())
    assert errors == []


def test_closing_ends_the_calls_that_wait():
    async def main():
        producer = AsyncProducer(DEAD)
        calls = [asyncio.ensure_future(producer.publish(b"v")) for _ in range(6)]
        await asyncio.sleep(0.05)
        # of the accepted records none is delivered; the calls in line end as well
        await producer.close(0.1)
        found = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 5)
        assert all(isinstance(one, Closed) or one.error is not None for one in found)
        assert any(isinstance(one, Closed) for one in found)

    asyncio.run(main())


# opaques, events, options


def test_a_report_shows_the_opaque_of_its_call(socket):
    async def main():
        async with AsyncProducer(socket) as producer:
            assert (await producer.publish(b"v")).opaque is None
            assert (await producer.publish(b"v", opaque=("a", 1))).opaque == ("a", 1)
            assert (await producer.emit(TEMPLATE, "c", 1)).opaque is None
            assert (await producer.emit(TEMPLATE, "c", 1, opaque="mine")).opaque == "mine"
            assert (await producer.publish_many([b"v"] * 2)).opaques == [None, None]
            batch = await producer.publish_many([b"v", TOO_LARGE], opaques=["a", "b"])
            assert [(report.opaque, report.error is None) for report in batch] == [("a", True), ("b", False)]

    asyncio.run(main())


def test_emit_many_gives_a_batch_in_the_order_of_the_rows(socket):
    async def main():
        async with AsyncProducer(socket + "&g.queue.buffering.max.messages=10") as producer:
            rows = [(f"c{n}", n) for n in range(100)]
            batch = await producer.emit_many(TEMPLATE, iter(rows), key_field="callid", opaques=range(100))
            assert batch.ok
            assert batch.opaques == list(range(100))
            expected = [(row[0].encode(), TEMPLATE.dumps(*row)) for row in rows]
            assert [(report.key, report.value) for report in batch] == expected
            keyed = await producer.emit_many(TEMPLATE, rows[:2], keys=["a", "b"], headers=[("h", b"1")])
            assert [report.key for report in keyed] == [b"a", b"b"]
            assert len(await producer.emit_many(TEMPLATE, [])) == 0
            with pytest.raises(ValueError, match="keys must have one item for each of the 2 records"):
                await producer.emit_many(TEMPLATE, rows[:2], keys=["a"])

    asyncio.run(main())


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"full_timeout": -1}, ValueError),
        ({"full_timeout": float("nan")}, ValueError),
        ({"invalid": "ignore"}, ValueError),
        ({"on_error": 1}, TypeError),
        ({"pace": 1}, TypeError),
        ({"on_delivery": print}, TypeError),
    ],
)
def test_options_that_cannot_be_used_are_refused(options, kind):
    with pytest.raises(kind):
        AsyncProducer("kafka:embedded/t", **options)


@pytest.mark.parametrize("call", ["flush", "close"])
def test_a_bad_timeout_is_refused(socket, call):
    async def main():
        async with AsyncProducer(socket) as producer:
            with pytest.raises(ValueError, match="timeout must not be negative"):
                await getattr(producer, call)(-1)
            assert (await producer.publish(b"goes on")).error is None

    asyncio.run(main())


# the end


def wait_until(is_so, seconds=10):
    end = time.monotonic() + seconds
    while not is_so() and time.monotonic() < end:
        gc.collect()
        time.sleep(0.02)
    assert is_so()


def test_a_producer_that_is_dropped_is_collected_and_its_records_go_out(socket, kafka_embedded, consume, caplog):
    caplog.set_level(logging.WARNING)
    name = "dropped-async"

    async def main():
        producer = AsyncProducer(socket.replace("linger.ms=1", "linger.ms=300"), name=name)
        call = asyncio.ensure_future(producer.publish(b"v"))
        await asyncio.sleep(0)
        call.cancel()
        return weakref.ref(producer)

    dropped = asyncio.run(main())  # the loop is closed before the report comes
    wait_until(lambda: dropped() is None)
    assert len(consume(kafka_embedded.bootstrap_servers, "t", 1)) == 1
    wait_until(lambda: not any(name in thread.name for thread in threading.enumerate()))
    assert caplog.records == []


def test_the_thread_of_a_flush_that_nobody_awaits_ends():
    async def main():
        producer = AsyncProducer(DEAD, name="flushed")
        waiting = asyncio.ensure_future(producer.publish(b"v"))
        await asyncio.sleep(0)  # it is queued now
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(producer.flush(), 0.1)
        await asyncio.sleep(1)
        assert "pykafkaevt flush flushed" not in [thread.name for thread in threading.enumerate()]
        assert await producer.flush(0.1) == 1
        await producer.close(0)
        await waiting

    asyncio.run(main())
