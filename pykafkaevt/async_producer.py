"""The producer for asyncio: awaiting a call is awaiting its delivery reports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from itertools import repeat
from types import TracebackType
from typing import Any

from pykafkaevt.errors import DeliveryError, QueueFull
from pykafkaevt.jsonrpc.template import EventTemplate
from pykafkaevt.kafka.delivery import DeliveryBatch, DeliveryReport, batch_of_rows
from pykafkaevt.producer import CLOSE_TIMEOUT, Producer, ProducerStats
from pykafkaevt.sockets import KafkaSocket

_Text = bytes | bytearray | memoryview | str | None
SLICE = 1.0  # seconds a thread waits for room before the caller is looked at again
_Headers = Iterable[tuple[str, bytes | str | None]]


class _Many:
    """The records of one publish_many call, and their reports as they come."""

    def __init__(self, values: list[_Text], future: asyncio.Future[DeliveryBatch]) -> None:
        self.rows: list[Any] = [None] * len(values)
        self.missing = len(values)
        self.future = future

    def add(self, index: int, row: tuple[Any, ...]) -> None:
        """One more report; the last one ends the wait."""
        self.rows[index] = row
        self.missing -= 1
        if self.missing == 0 and not self.future.done():
            self.future.set_result(batch_of_rows(self.rows))


class AsyncProducer:
    """Producer for asyncio; an asynchronous context manager. Its arguments are those of Producer.

    Awaiting a call waits for the broker's acknowledgement: many calls at once (asyncio.gather, tasks) share batches.
    When the queue is full a call waits for room, `full_timeout` seconds at most (None: no limit), then QueueFull.
    Belongs to the event loop it is first used in.
    """

    def __init__(
        self,
        socket: str | KafkaSocket,
        *,
        on_error: Callable[[DeliveryError], object] | None = None,
        full_timeout: float | None = None,
        invalid: str = "replace",
        name: str | None = None,
    ) -> None:
        """Raises SocketError and ConfigError."""
        self._full_timeout = full_timeout
        self._loop: asyncio.AbstractEventLoop | None = None
        self._producer = Producer(
            socket, on_delivery=self._deliver, on_error=on_error, on_full="raise", invalid=invalid, name=name
        )

    def _deliver(self, batch: DeliveryBatch) -> None:
        """On the report thread: wake the loop once for the batch."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._resolve, batch)

    def _resolve(self, batch: DeliveryBatch) -> None:
        for report in batch:
            waiting = report.opaque
            if isinstance(waiting, asyncio.Future):
                if not waiting.done():
                    waiting.set_result(report)
            else:
                many, index, opaque = waiting
                code = report.error.code if report.error else 0
                many.add(
                    index,
                    (code, report.partition, report.offset, report.latency_us, report.key, report.value, opaque),
                )

    def _future(self) -> asyncio.Future[Any]:
        self._loop = asyncio.get_running_loop()
        return self._loop.create_future()

    async def _when_room(self, queue: Callable[[], object]) -> None:
        """Queue something; while the queue is full, wait until records leave it and try again."""
        now = asyncio.get_running_loop().time
        deadline = None if self._full_timeout is None else now() + self._full_timeout
        while True:
            seen = self._producer._room()
            try:
                queue()
                return
            except QueueFull:
                left = SLICE if deadline is None else deadline - now()
                if left <= 0:
                    raise
                await asyncio.to_thread(self._producer._wait_for_room, seen, min(left, SLICE))

    async def publish(
        self,
        value: _Text,
        key: _Text = None,
        *,
        headers: _Headers | None = None,
        timestamp_ms: int | None = None,
        partition: int | None = None,
    ) -> DeliveryReport:
        """Queue one record and wait for its report, whose `.error` says whether it failed.

        Arguments as Producer.publish(). Raises DeliveryError when librdkafka refuses the record (too large),
        QueueFull, SerializeTypeError, Closed.
        """
        future: asyncio.Future[DeliveryReport] = self._future()
        await self._when_room(
            lambda: self._producer.publish(
                value,
                key,
                headers=headers,
                timestamp_ms=timestamp_ms,
                partition=partition,
                report=True,
                opaque=future,
            )
        )
        return await future

    async def emit(self, template: EventTemplate, *values: object, key: _Text = None) -> DeliveryReport:
        """Serialize one event, queue it and wait for its report. As publish(), and Producer.emit()."""
        future: asyncio.Future[DeliveryReport] = self._future()
        await self._when_room(lambda: self._producer.emit(template, *values, key=key, report=True, opaque=future))
        return await future

    async def publish_many(
        self,
        values: Iterable[_Text],
        keys: Iterable[_Text] | None = None,
        *,
        headers: _Headers | None = None,
        timestamps_ms: Iterable[int] | None = None,
        opaques: Iterable[Any] | None = None,
    ) -> DeliveryBatch:
        """Queue records in order and wait for all of their reports: a DeliveryBatch in the order of `values`.

        Records librdkafka refuses (too large) are in it with their error. Raises QueueFull, SerializeTypeError (values
        before the bad one are queued), ValueError for lists of different lengths, Closed.
        """
        listed = list(values)
        columns = [None if given is None else list(given) for given in (keys, timestamps_ms, opaques)]
        if any(column is not None and len(column) != len(listed) for column in columns):
            raise ValueError(
                f"keys, timestamps_ms and opaques must have one item for each of the {len(listed)} records"
            )
        many = _Many(listed, self._future())
        kept = None if headers is None else list(headers)
        given = [many] * len(listed)
        waiting = list(zip(given, range(len(listed)), columns[2] or repeat(None), strict=False))
        done = 0

        def queue_rest() -> None:
            nonlocal done
            try:
                self._producer.publish_many(
                    listed[done:],
                    columns[0] and columns[0][done:],
                    headers=kept,
                    timestamps_ms=columns[1] and columns[1][done:],
                    report=True,
                    opaques=waiting[done:],
                )
            except QueueFull as full:
                done += full.queued
                raise

        if listed:
            await self._when_room(queue_rest)
        else:
            many.future.set_result(batch_of_rows([]))
        return await many.future

    async def flush(self, timeout: float | None = None) -> int:
        """Wait until every record has its report, `timeout` seconds at most; the records still without."""
        return await asyncio.to_thread(self._producer.flush, timeout)

    async def close(self, timeout: float | None = CLOSE_TIMEOUT) -> int:
        """Flush for at most `timeout` seconds, then give up what is left; the records not delivered in time."""
        return await asyncio.to_thread(self._producer.close, timeout)

    def stats(self) -> ProducerStats:
        """As Producer.stats()."""
        return self._producer.stats()

    def __len__(self) -> int:
        """Records that have no report yet."""
        return len(self._producer)

    def __bool__(self) -> bool:
        return True

    async def __aenter__(self) -> AsyncProducer:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self.close()
