"""The producer for asyncio on the embedded broker."""

import asyncio

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
