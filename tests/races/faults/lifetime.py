"""Objects that were never made properly, that are dropped, forked, or changed by a value's own code."""

import asyncio
import contextlib
import faulthandler
import gc
import importlib
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pykafkaevt
from pykafkaevt import (
    AsyncProducer,
    Connector,
    DeliveryBatch,
    EmbeddedBroker,
    EventInterface,
    EventTemplate,
    Producer,
)
from tests.races.faults import started, wait_until
from tests.races.ledger import PARTITIONS, TOPIC, read_topic
from tests.races.process import native_threads

CHILD_SECONDS = 6
# what a made object's thread does, and what would wait for input, is not called on one that was not made
NOT_CALLED = {"__class__", "__init__", "__new__", "__subclasshook__", "__init_subclass__", "__dir__"}
ARGUMENTS: tuple[tuple[Any, ...], ...] = ((), (b"x",), ("x",), (1,), ("x", "y"), (0, 0), ([b"x"],), (b"x", 0, 0))


def public_classes() -> Iterator[type]:
    """The public classes, and those of the compiled modules."""
    package = Path(pykafkaevt.__file__).parent
    for library in sorted(package.rglob("*.so")):
        name = ".".join(library.relative_to(package.parent).with_name(library.name.split(".")[0]).parts)
        yield from (one for one in vars(importlib.import_module(name)).values() if isinstance(one, type))
    yield from (one for name in pykafkaevt.__all__ if isinstance(one := getattr(pykafkaevt, name), type))


def objects_without_init() -> None:
    """Class.__new__(Class), then any method: an exception, or nothing. The names are printed before they are used."""
    for kind in dict.fromkeys(public_classes()):
        if not kind.__module__.startswith("pykafkaevt"):
            continue
        with contextlib.suppress(Exception):
            made = kind.__new__(kind)
            for name in dir(made):
                if name in NOT_CALLED:
                    continue
                for arguments in ARGUMENTS:
                    print(kind, name, arguments, file=sys.stderr)
                    with contextlib.suppress(Exception):
                        getattr(made, name)(*arguments)
            del made
    gc.collect()


def subclass_without_init() -> None:
    """A Producer whose subclass forgot super().__init__() raises."""

    class Mine(Producer):
        def __init__(self) -> None:
            pass

    mine = Mine()
    template = EventTemplate("E", ["n"])
    calls: tuple[Callable[[], object], ...] = (
        lambda: mine.publish(b"x"),
        lambda: mine.emit(template, 1),
        lambda: mine.emit_many(template, [(1,)]),
        lambda: mine.publish_many([b"x"]),
        lambda: mine.flush(1),
        mine.purge,
        mine.stats,
        lambda: len(mine),
    )
    for call in calls:
        with pytest.raises(Exception, match=r".+"):
            call()


def dropped(make: Callable[[str], weakref.ref[Any]], records: int) -> None:
    """What `make` made and dropped is collected, its records are delivered, its threads end."""
    with EmbeddedBroker(topics={TOPIC: PARTITIONS}) as broker:
        socket = f"kafka:{broker.bootstrap_servers}/{TOPIC}"
        with Producer(socket) as warm:
            warm.publish(b"warm")
        before = native_threads()
        reference = make(socket)
        gc.collect()
        assert wait_until(lambda: len(read_topic(broker.bootstrap_servers)) == 1 + records), "records are lost"

        def gone() -> bool:
            gc.collect()
            return reference() is None

        assert wait_until(gone), "it is still there"
        assert wait_until(lambda: native_threads() <= before), [one.name for one in threading.enumerate()]


def dropped_producer() -> None:
    """A Producer, whose on_delivery refers to it."""

    def make(socket: str) -> weakref.ref[Any]:
        reports: list[tuple[int, str]] = []

        def on_delivery(batch: DeliveryBatch) -> None:
            reports.append((len(batch), repr(producer)))

        producer = Producer(socket, on_delivery=on_delivery)
        producer.publish_many([b"%d" % n for n in range(50)], report=True)
        return weakref.ref(producer)

    dropped(make, 50)


def dropped_async_producer() -> None:
    """An AsyncProducer."""

    def make(socket: str) -> weakref.ref[Any]:
        async def main() -> weakref.ref[Any]:
            producer = AsyncProducer(socket)
            await producer.publish(b"x")
            await producer.publish_many([b"y", b"z"])
            return weakref.ref(producer)

        return asyncio.run(main())

    dropped(make, 3)


def dropped_interface() -> None:
    """An EventInterface."""

    def make(socket: str) -> weakref.ref[Any]:
        interface = EventInterface()
        interface.publish_event("E")
        interface.subscribe_event("E", socket, expire=100)
        assert interface.raise_event("E", {"n": "x"}) == 1
        return weakref.ref(interface)

    dropped(make, 1)


def dropped_connector() -> None:
    """A Connector."""

    def make(socket: str) -> weakref.ref[Any]:
        connector = Connector([f"[k1]{socket}"])
        assert connector.kafka_publish("k1", "x") == 1
        return weakref.ref(connector)

    dropped(make, 1)


def locks() -> list[Any]:
    """Every lock that a module of the package, or an object of one of its classes, holds in an attribute."""
    kinds = (type(threading.Lock()), type(threading.RLock()))
    owners: list[Any] = [module for name, module in sys.modules.items() if name.startswith("pykafkaevt")]
    owners += [one for one in gc.get_objects() if str(type(one).__module__).startswith("pykafkaevt")]
    found = [value for one in owners for value in getattr(one, "__dict__", {}).values() if isinstance(value, kinds)]
    return list({id(one): one for one in found}.values())


def fork_with_a_lock_held() -> None:
    """Whatever lock another thread holds during the fork, the child uses all there is, and ends with 0."""
    with EmbeddedBroker(topics={TOPIC: PARTITIONS}) as broker:
        socket = f"kafka:{broker.bootstrap_servers}/{TOPIC}?g.enable.idempotence=false"  # connects at once
        interface = EventInterface()
        interface.publish_event("E")
        interface.subscribe_event("E", socket)
        connector = Connector([f"[k1]{socket}"])
        producer = Producer(socket)
        waiting = AsyncProducer(socket)
        embedded = Producer("kafka:embedded/t")

        def use() -> None:
            interface.subscribers_list()
            interface.subscribe_event("E", socket.replace(f"/{TOPIC}?", "/other?"))
            assert interface.raise_event("E", {"n": 1}) == 2
            interface.unsubscribe_event("E", socket.replace(f"/{TOPIC}?", "/other?"))
            assert interface.flush(5) == 0
            assert connector.kafka_publish("k1", "x") == 1
            connector.broker_id(f"[k2]{socket}")
            assert connector.flush(5) == 0
            assert producer.publish(b"x")
            assert producer.flush(5) == 0
            assert asyncio.run(waiting.publish(b"x")).error is None
            with Producer("kafka:embedded/t") as own:
                assert own.publish(b"x")
                assert own.flush(5) == 0

        held = locks()
        assert held
        for lock in held:
            child_with(lock, use)
        for one in (producer, embedded, connector, interface):
            one.close(5)


def child_with(lock: Any, use: Callable[[], None]) -> None:
    """Fork while another thread holds the lock; AssertionError unless the child ends with 0."""
    taken, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            taken.set()
            done.wait()

    holding = started(hold)
    assert taken.wait(5)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            faulthandler.register(signal.SIGALRM, chain=True)
            signal.alarm(CHILD_SECONDS)
            use()
            status = 0
        finally:
            if status:
                sys.excepthook(*sys.exc_info())
            os._exit(status)
    done.set()
    holding.join()
    _, status = os.waitpid(pid, 0)
    assert status == 0, f"with {lock} held the child ended with {os.waitstatus_to_exitcode(status)}"


def row_changed_while_read() -> None:
    """A list, a row, or headers, changed by a value's own code while they are read: an exception, or all is queued."""
    template = EventTemplate("E", ["a", "k"])

    class Changing(dict[str, Any]):
        def __init__(self, change: Callable[[], object]) -> None:
            super().__init__(x=b"\xff")
            self.change = change

        def items(self) -> Any:
            self.change()
            return super().items()

    def rows(change: Callable[[], object]) -> list[Any]:
        return [(Changing(change), "k"), *((number, "k") for number in range(20))]

    with Producer("kafka:embedded/t") as producer:

        def change_all() -> None:
            row: list[Any] = []
            row += [Changing(row.clear), "key"]
            attempt(lambda: producer.emit_many(template, [row], key_field="k"))
            listed: list[Any] = []
            listed += rows(listed.clear)
            attempt(lambda: producer.emit_many(template, listed))
            keys: list[Any] = ["k"] * 21
            attempt(lambda: producer.emit_many(template, rows(keys.clear), keys=keys))
            times = [1] * 21
            attempt(lambda: producer.emit_many(template, rows(times.clear), timestamps_ms=times))
            headers: list[Any] = [("h", b"v")] * 5
            attempt(lambda: producer.emit_many(template, rows(headers.clear), headers=headers))

        for _ in range(50):
            change_all()


def attempt(call: Callable[[], object]) -> None:
    """Exceptions are fine here, crashes are not."""
    with contextlib.suppress(Exception):
        call()
    gc.collect(0)
    time.sleep(0)


def child_delivers(producer: Callable[[], Producer]) -> None:
    """A forked child delivers a record by the producer that it makes or has."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(CHILD_SECONDS)
        left = 1
        try:
            one = producer()
            one.publish(b"child")
            left = one.flush(CHILD_SECONDS)
        finally:
            os._exit(left)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def fork_while_a_name_is_resolved() -> None:
    """A new client looks its broker up at once: forked in that moment, every 30th child or so hung in getaddrinfo()."""
    with EmbeddedBroker(topics={TOPIC: PARTITIONS}) as broker:
        for _ in range(60):
            with Producer(f"kafka:{broker.bootstrap_servers}/{TOPIC}?g.enable.idempotence=false") as producer:
                producer.publish(b"parent")
                child_delivers(lambda producer=producer: producer)


def fork_while_clients_are_made_and_destroyed() -> None:
    """librdkafka's own locks: a child of a fork while another thread held one could make no client."""
    stop = threading.Event()
    with EmbeddedBroker(topics={TOPIC: PARTITIONS}) as broker:
        socket = f"kafka:{broker.bootstrap_servers}/{TOPIC}?g.enable.idempotence=false"

        def make_and_close() -> None:
            while not stop.is_set():
                Producer(socket).close(0)

        threads = [threading.Thread(target=make_and_close) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(60):
                child_delivers(lambda: Producer(socket))
        finally:
            stop.set()
            for thread in threads:
                thread.join()
