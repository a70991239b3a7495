"""The producer for asyncio: awaiting a call is awaiting its delivery reports."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import repeat
from time import monotonic
from types import TracebackType
from typing import Any

from pykafkaevt.diagnosis import Explanation
from pykafkaevt.errors import DeliveryError, QueueFull, SerializeError, SerializeTypeError
from pykafkaevt.jsonrpc.template import EventTemplate
from pykafkaevt.kafka.delivery import DeliveryBatch, DeliveryReport, batch_of_rows
from pykafkaevt.kafka.process import renewed_after_fork
from pykafkaevt.options import ProducerOptions, checked_timeout
from pykafkaevt.producer import CLOSE_TIMEOUT, Producer, ProducerStats
from pykafkaevt.sockets import KafkaSocket

_Text = bytes | bytearray | memoryview | str | None
_Headers = Iterable[tuple[str, bytes | str | None]]

SOON = 0.001  # seconds until librdkafka has released the records of a batch that is being reported
LATER = 0.1  # seconds between two tries to queue while no reports come
FLUSH_SLICE = 0.5  # seconds after which the thread of a flush sees that nobody waits for it any more


class _Many:
    """The records of one call, and their reports as they come, in any order, as rows of batch_of_rows()."""

    def __init__(self, count: int, future: asyncio.Future[DeliveryBatch]) -> None:
        self.rows: list[Any] = [None] * count
        self.missing = count
        self.future = future
        self.explanation: Explanation | None = None


class _Place:
    """The place of a call in the line of those that wait while the queue is full."""

    __slots__ = ("error", "queue", "timer")

    def __init__(self, queue: Callable[[], object], error: QueueFull | None) -> None:
        self.queue = queue
        self.error = error  # of the last try
        self.timer: asyncio.TimerHandle | None = None


class _LoopSide:
    """What happens on the event loop: reports arrive, calls wait in line while the queue is full.

    It does not know the AsyncProducer: the compiled producer's callback leads here, and must not keep that alive.
    """

    def __init__(self) -> None:
        self.after_fork()

    def after_fork(self) -> None:
        """Belong to no loop: the parent's loop, and the calls that wait on it, stayed there."""
        self.loop: asyncio.AbstractEventLoop | None = None
        self.line: OrderedDict[asyncio.Future[Any], _Place] = OrderedDict()
        self.timer: asyncio.TimerHandle | None = None
        self.binding = threading.Lock()

    def bound(self) -> asyncio.AbstractEventLoop:
        """The running loop, which is the one of this producer from now on. Raises RuntimeError for a second one."""
        running = asyncio.get_running_loop()
        if running is not self.loop:
            with self.binding:
                if self.loop is not None and not self.loop.is_closed():
                    raise RuntimeError(
                        "this AsyncProducer belongs to another event loop, where it was used first: make one for each"
                    )
                self.loop = running
                self.line.clear()
                self.timer = None
        return running

    # Reports

    def deliver(self, batch: DeliveryBatch) -> None:
        """On the report thread: wake the loop once for the batch."""
        loop = self.loop
        if loop is not None:
            # nobody waits in a loop that is closed
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self.resolve, batch)

    def resolve(self, batch: DeliveryBatch) -> None:
        """Hand each report to the call that awaits it; the records' tags are as queued by AsyncProducer."""
        tags = batch.opaques[:]
        # what a report shows is the opaque of the user
        batch.opaques[:] = [tag[2] if type(tag) is tuple else None for tag in tags]
        for tag, report in zip(tags, batch, strict=True):
            many, index, opaque = tag if type(tag) is tuple else (tag, None, None)
            if index is None:
                if not many.done():
                    many.set_result(report)
                continue
            code = 0 if report.error is None else report.error.code
            row = (code, report.partition, report.offset, report.latency_us, report.key, report.value, opaque)
            many.rows[index] = row
            many.explanation = batch.explanation or many.explanation
            many.missing -= 1
            if not many.missing and not many.future.done():
                many.future.set_result(batch_of_rows(many.rows, many.explanation))
        if self.line:
            self.try_in_order(SOON)

    # The line

    def queue(self, queue: Callable[[], object], future: asyncio.Future[Any], timeout: float | None) -> None:
        """Call `queue` when it does not raise QueueFull, and not before all calls that came earlier.

        What `queue` raises is raised here or is the exception of `future`; so is QueueFull after `timeout` seconds. A
        future that is done leaves the line.
        """
        full = None
        if not self.line:
            try:
                queue()
                return
            except QueueFull as error:
                if timeout == 0:
                    raise
                full = error
        loop = future.get_loop()
        place = self.line[future] = _Place(queue, full)
        future.add_done_callback(self.leave)
        if timeout is not None:
            place.timer = loop.call_later(timeout, self.expire, future)
        if len(self.line) == 1:
            self.try_again(SOON)

    def try_in_order(self, pause: float) -> None:
        """Let calls queue, the first in line first, until the queue is full; then try again after `pause` seconds."""
        while self.line:
            future, place = next(iter(self.line.items()))
            if not future.done():
                try:
                    place.queue()
                except QueueFull as error:
                    place.error = error
                    self.try_again(pause)
                    return
                except Exception as error:
                    future.set_exception(error)
            self.leave(future)

    def try_again(self, pause: float) -> None:
        """Try after so many seconds; a try that waits for its time already is put off or brought forward."""
        if self.timer is not None:
            self.timer.cancel()
        assert self.loop is not None
        self.timer = self.loop.call_later(pause, self.try_in_order, LATER)

    def expire(self, future: asyncio.Future[Any]) -> None:
        """Time is over for a call that is still in line."""
        place = self.line[future]
        if not future.done():
            future.set_exception(place.error or QueueFull("the producer's queue is full, and other calls wait before"))

    def leave(self, future: asyncio.Future[Any]) -> None:
        """Remove a call from the line."""
        place = self.line.pop(future, None)
        if place is not None and place.timer is not None:
            place.timer.cancel()


class AsyncProducer:
    """Producer for asyncio; an asynchronous context manager.

    Awaiting a call waits for the broker's acknowledgement: many calls at once (asyncio.gather, tasks) share batches.
    When the queue is full, calls wait in the order they came, `full_timeout` seconds at most (None: no limit), then
    raise QueueFull. on_error, full_timeout, invalid and name are those of Producer; there is no on_delivery, for each
    call gives its reports to its caller.

    Belongs to the event loop it is first used in, until that one is closed: a call in another one raises RuntimeError.
    After fork() the child may use it in a loop of its own; the records queued before stay the parent's. No thread of
    the loop's executor is used. Dropped without close() its records are still delivered.
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
        """Raises SocketError, ConfigError, and ValueError or TypeError as ProducerOptions."""
        ProducerOptions(on_error=on_error, full_timeout=full_timeout, invalid=invalid)
        self._full_timeout = full_timeout
        self._side = _LoopSide()
        self._producer = Producer(
            socket, on_delivery=self._side.deliver, on_error=on_error, on_full="raise", invalid=invalid, name=name
        )
        renewed_after_fork(self)

    async def publish(
        self,
        value: _Text,
        key: _Text = None,
        *,
        headers: _Headers | None = None,
        timestamp_ms: int | None = None,
        partition: int | None = None,
        opaque: object = None,
    ) -> DeliveryReport:
        """Queue one record and wait for its report, whose `.error` says whether it failed.

        opaque: any object, `.opaque` of the report. The rest as Producer.publish(). Raises DeliveryError when
        librdkafka rejects the record (too large), QueueFull, SerializeTypeError, Closed.
        """
        return await self._queue_one(
            lambda tag: self._producer.publish(
                value,
                key,
                headers=headers,
                timestamp_ms=timestamp_ms,
                partition=partition,
                report=True,
                opaque=tag,
            ),
            opaque,
        )

    async def emit(
        self, template: EventTemplate, *values: object, key: _Text = None, opaque: object = None
    ) -> DeliveryReport:
        """Serialize one event, queue it and wait for its report. As publish(), and Producer.emit()."""
        return await self._queue_one(
            lambda tag: self._producer.emit(template, *values, key=key, report=True, opaque=tag), opaque
        )

    async def _queue_one(self, call: Callable[[object], object], opaque: object) -> DeliveryReport:
        """Have `call` queue a record with the opaque it is given, and wait for the report."""
        future: asyncio.Future[DeliveryReport] = self._side.bound().create_future()
        tag = future if opaque is None else (future, None, opaque)
        self._side.queue(lambda: call(tag), future, self._full_timeout)
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

        Records that librdkafka rejects (too large) are in it with their error. Raises QueueFull, SerializeError and
        SerializeTypeError with `.queued` and `.position` (records before it are queued or rejected), ValueError for
        lists of different lengths, before anything is queued, Closed.
        """
        return await self._queue_all(
            self._producer.publish_many,
            list(values),
            {"keys": keys, "timestamps_ms": timestamps_ms, "opaques": opaques},
            {"headers": None if headers is None else list(headers)},
        )

    async def emit_many(
        self,
        template: EventTemplate,
        rows: Iterable[tuple[object, ...] | list[Any]],
        *,
        key_field: str | None = None,
        keys: Iterable[_Text] | None = None,
        headers: _Headers | None = None,
        timestamps_ms: Iterable[int] | None = None,
        opaques: Iterable[Any] | None = None,
    ) -> DeliveryBatch:
        """Serialize events, queue them in order and wait for all of their reports.

        As publish_many(), and Producer.emit_many().
        """

        def emit_many(part: list[Any], **columns: Any) -> int:
            return self._producer.emit_many(template, part, **columns)

        return await self._queue_all(
            emit_many,
            list(rows),
            {"keys": keys, "timestamps_ms": timestamps_ms, "opaques": opaques},
            {"key_field": key_field, "headers": None if headers is None else list(headers)},
        )

    async def _queue_all(
        self,
        call: Callable[..., int],
        rows: list[Any],
        columns: dict[str, Iterable[Any] | None],
        fixed: dict[str, Any],
    ) -> DeliveryBatch:
        """Have `call` queue the rows, as often as the queue is full on the way, and wait for their reports.

        columns: by the name of the argument, one item per row; fixed: arguments for all rows.
        """
        count = len(rows)
        listed = {name: list(column) for name, column in columns.items() if column is not None}
        for name, column in listed.items():
            if len(column) != count:
                raise ValueError(f"{name} must have one item for each of the {count} records")
        future: asyncio.Future[DeliveryBatch] = self._side.bound().create_future()
        many = _Many(count, future)
        listed["opaques"] = list(zip(repeat(many), range(count), listed.get("opaques") or repeat(None), strict=False))
        position = queued = 0

        def queue_rest() -> None:
            nonlocal position, queued
            rest = {name: column[position:] for name, column in listed.items()} if position else listed
            try:
                call(rows[position:], **rest, **fixed, report=True)
            except (QueueFull, SerializeError, SerializeTypeError) as error:
                # what this call says of its rows, said of all rows
                position = error.position = position + error.position
                queued = error.queued = queued + error.queued
                raise

        if not rows:
            return batch_of_rows([])
        self._side.queue(queue_rest, future, self._full_timeout)
        return await future

    async def flush(self, timeout: float | None = None) -> int:
        """Wait until every record has its report, `timeout` seconds at most; the records still without."""
        checked_timeout(timeout, "timeout")
        deadline = None if timeout is None else monotonic() + timeout
        producer = self._producer

        def flush(abandoned: Callable[[], bool]) -> int:
            while True:
                left = FLUSH_SLICE if deadline is None else deadline - monotonic()
                unreported = producer.flush(max(0.0, min(left, FLUSH_SLICE)))
                if not unreported or left < FLUSH_SLICE or abandoned():
                    return unreported

        return await _in_thread(flush, f"pykafkaevt flush {producer.name}")

    async def close(self, timeout: float | None = CLOSE_TIMEOUT) -> int:
        """Flush for at most `timeout` seconds, then give up what is left; the records not delivered in time."""
        checked_timeout(timeout, "timeout")
        producer = self._producer
        return await _in_thread(lambda _: producer.close(timeout), f"pykafkaevt close {producer.name}")

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

    def _after_fork(self) -> None:
        """In the child: belong to no event loop."""
        self._side.after_fork()


async def _in_thread(work: Callable[[Callable[[], bool]], int], name: str) -> int:
    """Await `work` in a daemon thread of its own; its argument says whether nobody waits any more."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[int] = loop.create_future()

    def settle(result: int, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def run() -> None:
        result, error = 0, None
        try:
            result = work(future.done)
        except BaseException as raised:
            error = raised
        # the loop may be closed by now
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await future
